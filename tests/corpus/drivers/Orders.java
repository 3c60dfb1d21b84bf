import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A server with blocking sockets: a line in, a line out, until "quit". What is no order throws. */
public class Orders {
    static final List<Socket> sessions = new ArrayList<>();
    static boolean closes;

    public static void main(String[] args) throws IOException {
        closes = args[0].equals("fixed");
        int threads = Integer.parseInt(args[1]);
        int[] number = {0};
        ExecutorService workers =
                Executors.newFixedThreadPool(threads, work -> new Thread(work, "order-worker-" + number[0]++));
        try (ServerSocket listener = new ServerSocket(8080, 1024, InetAddress.getLoopbackAddress())) {
            while (true) {
                Socket client = listener.accept();
                synchronized (sessions) {
                    sessions.add(client);
                }
                workers.submit(() -> serveClient(client));
            }
        }
    }

    static void serveClient(Socket client) {
        try {
            takeOrders(client);
            client.close();
        } catch (IOException | RuntimeException error) {
            System.err.println("cannot serve: " + error);
            if (closes) {
                closeQuietly(client);
            }
        }
    }

    static void takeOrders(Socket client) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(client.getInputStream()));
        while (true) {
            // At the end of the stream the line is null.
            String line = in.readLine();
            if ("quit".equals(line)) {
                return;
            }
            int amount = Integer.parseInt(line.trim());
            client.getOutputStream().write(("taken " + amount + "\n").getBytes());
        }
    }

    static void closeQuietly(Socket client) {
        try {
            client.close();
        } catch (IOException ignored) {
        }
    }
}
