package example;

import java.nio.charset.StandardCharsets;
import org.apache.commons.io.IOUtils;

/** Says a text that went through the library that the proxy brought. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws java.io.IOException {
        byte[] bytes = {'f', 'a', 'r', 'm'};
        System.out.println("read: " + IOUtils.toString(bytes, StandardCharsets.UTF_8.name()));
    }
}
