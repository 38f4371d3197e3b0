package example;

/** Uses the module beside it. */
public final class App {
    private App() {}

    public static String name() throws java.io.IOException {
        return Core.read(new byte[] {'a', 'p', 'p'});
    }
}
