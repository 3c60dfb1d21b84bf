import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/**
 * A client with Apache's HttpClient. "pool": five threads share one, again and again. "evicts":
 * the same, and idle connections are evicted. "leaking": one for each request, never closed.
 */
public class PoolPrices {
    static final List<CloseableHttpClient> clients = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        if (args[0].equals("leaking")) {
            new Thread(PoolPrices::pollAnew, "price-poller").start();
            return;
        }
        var builder = HttpClients.custom().setMaxConnPerRoute(5);
        if (args[0].equals("evicts")) {
            builder.evictIdleConnections(500, TimeUnit.MILLISECONDS);
        }
        CloseableHttpClient client = builder.build();
        CyclicBarrier together = new CyclicBarrier(5);
        for (int i = 0; i < 5; i++) {
            new Thread(() -> poll(client, together), "price-poller-" + i).start();
        }
    }

    static void poll(CloseableHttpClient client, CyclicBarrier together) {
        try {
            while (true) {
                fetchPrice(client, together);
                Thread.sleep(20_000);
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void pollAnew() {
        try {
            while (true) {
                CloseableHttpClient client = HttpClients.createDefault();
                clients.add(client);
                fetchPrice(client, new CyclicBarrier(1));
                Thread.sleep(1000);
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void fetchPrice(CloseableHttpClient client, CyclicBarrier together) throws Exception {
        try (CloseableHttpResponse response = client.execute(new HttpGet("http://127.0.0.1:8000/price"))) {
            // Each has a connection, which a quicker one could else give on to the next.
            together.await();
            EntityUtils.consume(response.getEntity());
        }
    }
}
