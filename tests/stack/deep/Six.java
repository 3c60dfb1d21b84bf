// Six methods deep in a thread of its own, and then for ever in read().
public class Six {
    static int taken = 1;

    static int leakHere(java.io.InputStream in) throws Exception {
        taken += in.read();
        return taken;
    }
    static int takeOne(java.io.InputStream in) throws Exception { return leakHere(in) * 3 + taken; }
    int handle(java.io.InputStream in, String a, long b) throws Exception { return takeOne(in) * 5 + taken + a.length() + (int) b; }
    static int dispatch(Six six, java.io.InputStream in) throws Exception { return six.handle(in, "a", 7) * 7 + taken; }
    static int serve(Six six, java.io.InputStream in) throws Exception {
        int a = taken, b = a * 3, c = b * 5, d = c * 7;
        int got = dispatch(six, in) * 11;
        return got + a + b + c + d + taken;
    }
    static int runServer(Six six, java.io.InputStream in) throws Exception { return serve(six, in) * 13 + taken; }

    public static void main(String[] args) throws Exception {
        var in = new java.io.FileInputStream(java.io.FileDescriptor.in);
        Thread thread = new Thread(() -> {
            try {
                Six six = new Six();
                // Until the compilers have had their way with all of them.
                var nothing = new java.io.FileInputStream("/dev/null");
                for (int i = 0; i < 100_000; i++) runServer(six, nothing);
                System.out.println("ready " + runServer(six, in));
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }, "six-worker");
        thread.start();
        thread.join();
    }
}
