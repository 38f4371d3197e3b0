package example;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class CoreTest {
    @Test
    void reads() throws Exception {
        assertEquals("farm", Core.read(new byte[] {'f', 'a', 'r', 'm'}));
    }
}
