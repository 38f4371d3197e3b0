package example;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class AppTest {
    @Test
    void works() throws Exception {
        assertEquals("app", App.name());
    }
}
