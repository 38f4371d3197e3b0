package example;

import java.nio.charset.StandardCharsets;
import org.apache.commons.io.IOUtils;

/** Reads a text through the library that the proxy brought. */
public final class Core {
    private Core() {}

    public static String read(byte[] bytes) throws java.io.IOException {
        return IOUtils.toString(bytes, StandardCharsets.UTF_8.name());
    }
}
