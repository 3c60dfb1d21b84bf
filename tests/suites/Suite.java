import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/**
 * A test suite in Java, run with {@code java -ea}: a client of a server that hangs up. With
 * SUITE_LEAKS set it forgets to close.
 */
public final class Suite {
    /** What is reachable has no cleaner that closes it. */
    private static final List<Socket> FORGOTTEN = new ArrayList<>();

    /** Accepts one connection and hangs up. */
    private static ServerSocket server() throws IOException {
        ServerSocket listener = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"));
        Thread server = new Thread(() -> {
            try (listener) {
                listener.accept().close();
            } catch (IOException error) {
                throw new AssertionError(error);
            }
        }, "server");
        server.start();
        return listener;
    }

    private static void fetchQuote() {
        try {
            ServerSocket server = server();
            Socket socket = new Socket(server.getInetAddress(), server.getLocalPort());
            assert socket.getInputStream().read() == -1;
            if (System.getenv("SUITE_LEAKS") != null) {
                FORGOTTEN.add(socket);
            } else {
                socket.close();
            }
        } catch (IOException error) {
            throw new AssertionError(error);
        }
    }

    public static void main(String[] args) throws InterruptedException {
        Thread test = new Thread(Suite::fetchQuote, "fetch-quote");
        test.start();
        test.join();
        System.out.println("aQuoteIsFetched ok");
        Thread.sleep(500);
        System.out.println("bTakesHalfASecond ok");
    }
}
