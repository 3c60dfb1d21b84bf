// The server of tests/scenarios/deep_server.c in Java, in a thread of its own and after the
// compilers have had their way with all of it.
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;

public class Server {
    static int sink = 1;
    static final ArrayList<Socket> kept = new ArrayList<>();

    /** Where a socket comes from: of many kinds, so that the compilers expect no one of them. */
    interface Source { Socket accept(int n) throws Exception; }
    interface Input { int read(int n) throws Exception; }

    static Socket leakHere(Source from) throws Exception {
        Socket got = from.accept(sink);
        sink++;
        return got;
    }
    static Socket takeOne(Source from) throws Exception { Socket got = leakHere(from); sink += 3; return got; }
    Socket handle(Source from, String a, long b) throws Exception { Socket got = takeOne(from); sink += a.length() + (int) b; return got; }
    static Socket dispatch(Server by, Source from) throws Exception { Socket got = by.handle(from, "a", 7); sink += 7; return got; }
    static Socket serve(Server by, Source from) throws Exception { Socket got = dispatch(by, from); sink += 11; return got; }
    static Socket runServer(Server by, Source from) throws Exception { Socket got = serve(by, from); sink += 13; return got; }

    static int readOn(Input in) throws Exception {
        int n = 0;
        while (in.read(n) >= 0) n++;
        return n + sink;
    }
    static int fillBuffer(Input in) throws Exception { return readOn(in) * 3 + sink; }
    int parseLine(Input in, String a, long b) throws Exception { return fillBuffer(in) * 5 + sink + a.length() + (int) b; }
    static int nextRequest(Server by, Input in) throws Exception { return by.parseLine(in, "a", 7) * 7 + sink; }
    static int converse(Server by, Input in) throws Exception { return nextRequest(by, in) * 11 + sink; }
    static int runClient(Server by, Input in) throws Exception { return converse(by, in) * 13 + sink; }

    public static void main(String[] args) throws Exception {
        int leak = Integer.parseInt(args[1]);
        Thread thread = new Thread(() -> {
            try {
                Server by = new Server();
                Source[] sources = {n -> null, n -> kept.isEmpty() ? null : kept.get(0), n -> n == 0 ? new Socket() : null};
                Input[] inputs = {n -> 2 - n, n -> 1 - n, n -> -1};
                for (int i = 0; i < 60_000; i++) {
                    runServer(by, sources[i % 3]);
                    runClient(by, inputs[i % 3]);
                }
                ServerSocket listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
                System.out.println("ready port=" + listener.getLocalPort() + " pid=" + ProcessHandle.current().pid());
                for (int i = 0; i < leak; i++) {
                    Socket socket = runServer(by, n -> listener.accept());
                    InputStream in = socket.getInputStream();
                    sink += runClient(by, n -> in.read());
                    kept.add(socket);
                }
                System.out.println("done leaked=" + leak + " closed=0");
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }, "six-worker");
        thread.start();
        thread.join();
        while (System.in.read() >= 0) {}
    }
}
