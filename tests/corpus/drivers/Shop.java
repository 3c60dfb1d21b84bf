import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/** A shop on Tomcat with two threads, each request of which asks a warehouse. */
public class Shop extends HttpServlet {
    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(args[0]);
        tomcat.setPort(8080);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        tomcat.getConnector().setProperty("maxThreads", "2");
        tomcat.getConnector().setProperty("minSpareThreads", "2");
        Context context = tomcat.addContext("", args[0]);
        Tomcat.addServlet(context, "shop", new Shop());
        context.addServletMappingDecoded("/", "shop");
        tomcat.start();
        tomcat.getServer().await();
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        response.getWriter().println(askWarehouse());
    }

    static int askWarehouse() throws IOException {
        // No timeout was set.
        try (Socket warehouse = new Socket(InetAddress.getLoopbackAddress(), 5999)) {
            return warehouse.getInputStream().read();
        }
    }
}
