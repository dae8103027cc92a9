import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * The clients of the JDK. Their threads send requests to a service, one after another, until the
 * standard input ends. None sends a request twice. For each request there is a line on the
 * standard output, with tabs between the name of the client, the method, the id, the status and
 * the answer. If there was no answer, the status is "failed", or "abandoned" if the fault is
 * JDK-8335181, and an error follows.
 *
 * <p>Arguments: the URLs of the service without and with TLS, the file with its certificate, and
 * the pause between the requests of an idle client in milliseconds.
 */
public class Client {
    private static final long PAUSE = 40; // between the requests of a busy client, in milliseconds
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final boolean GOAWAY_IS_FATAL = isGoAwayFatal();

    private final CountDownLatch stopped = new CountDownLatch(1);
    private final List<Thread> threads = new ArrayList<>();
    private final long idle;

    private record Answer(int status, String text) {}

    private interface Sender {
        Answer send(String method, String url, String body) throws Exception;
    }

    private Client(long idle) {
        this.idle = idle;
    }

    public static void main(String[] args) throws Exception {
        String plain = args[0], secure = args[1];
        SSLContext tls = trust(args[2]);
        HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());
        Client c = new Client(Long.parseLong(args[3]));
        c.start("default", plain, HttpClient::newHttpClient);
        c.start("HTTP/1", plain, () -> builder(HttpClient.Version.HTTP_1_1).build());
        c.start("HTTP/1 with TLS", secure,
            () -> builder(HttpClient.Version.HTTP_1_1).sslContext(tls).build());
        c.start("HTTP/2", secure, () -> builder(HttpClient.Version.HTTP_2).sslContext(tls).build());
        for (String url : List.of(plain, secure)) {
            // It sends a GET twice if a kept connection ends, which cannot be turned off.
            String name = "HttpURLConnection " + url.replaceFirst(":.*", "");
            c.start(name + " busy", "POST", url + "/echo", PAUSE, Client::sendByURLConnection);
            c.start(name + " idle", "POST", url + "/echo", c.idle, Client::sendByURLConnection);
        }
        for (int b = 0; b >= 0; b = System.in.read()) {}
        c.stopped.countDown();
        for (Thread t : c.threads) {
            t.join();
        }
        System.exit(0);
    }

    private static HttpClient.Builder builder(HttpClient.Version version) {
        return HttpClient.newBuilder().version(version);
    }

    /** Returns a context that trusts one certificate. */
    private static SSLContext trust(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (InputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("service",
                CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    /** Starts the threads of an HttpClient that they share, and of one that is idle at times. */
    private void start(String name, String url, Supplier<HttpClient> make) {
        Sender busy = sendBy(make.get());
        start(name + " /echo", "GET", url + "/echo", PAUSE, busy);
        start(name + " /echo", "POST", url + "/echo", PAUSE, busy);
        start(name + " /slow", "GET", url + "/slow", PAUSE, busy);
        start(name + " /events", "GET", url + "/events", PAUSE, busy);
        start(name + " idle", "GET", url + "/echo", idle, sendBy(make.get()));
        start(name + " idle", "POST", url + "/echo", idle, sendBy(make.get()));
    }

    private void start(String name, String method, String url, long pause, Sender sender) {
        String prefix = threads.size() + "-"; // of the ids of its requests
        Thread t = new Thread(() -> repeat(name, method, url, pause, sender, prefix));
        threads.add(t);
        t.start();
    }

    private void repeat(
            String name, String method, String url, long pause, Sender sender, String prefix) {
        int n = 0;
        do {
            String id = prefix + n++;
            String outcome;
            try {
                Answer a = sender.send(method, url + "?id=" + id, method.equals("POST") ? id : "");
                outcome = a.status + "\t" + lastLine(a.text);
            } catch (Exception e) {
                outcome = (isAbandoned(name, e) ? "abandoned\t" : "failed\t") + describe(e);
            }
            System.out.println(name + "\t" + method + "\t" + id + "\t" + outcome);
        } while (!stopsWithin(pause));
    }

    private boolean stopsWithin(long milliseconds) {
        try {
            return stopped.await(milliseconds, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            return true;
        }
    }

    /** Returns the answer alone: it is the data of each event of a stream. */
    private static String lastLine(String text) {
        String last = text.strip();
        return last.substring(last.lastIndexOf('\n') + 1).replaceFirst("^data: ", "");
    }

    /**
     * Returns whether any GOAWAY would have ended the request: JDK-8335181. The HttpClient then fails
     * all streams, even those whose answer has just arrived, and may forget one that it is opening,
     * which then times out.
     */
    private static boolean isAbandoned(String name, Exception e) {
        return String.valueOf(e.getMessage()).endsWith("GOAWAY received")
            || GOAWAY_IS_FATAL && name.startsWith("HTTP/2") && e instanceof HttpTimeoutException;
    }

    private static boolean isGoAwayFatal() {
        Runtime.Version v = Runtime.version();
        return switch (v.feature()) {
            case 17 -> v.update() < 17;
            case 21 -> v.update() < 9;
            default -> v.feature() < 24;
        };
    }

    private static String describe(Throwable e) {
        StringBuilder text = new StringBuilder(e.toString());
        for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
            text.append(": ").append(cause);
        }
        return text.toString().replaceAll("\\s", " ");
    }

    private static Sender sendBy(HttpClient client) {
        return (method, url, body) -> {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(TIMEOUT)
                .method(method, body.isEmpty()
                    ? HttpRequest.BodyPublishers.noBody()
                    : HttpRequest.BodyPublishers.ofString(body))
                .build();
            HttpResponse<String> r = client.send(request, HttpResponse.BodyHandlers.ofString());
            return new Answer(r.statusCode(), r.body());
        };
    }

    private static Answer sendByURLConnection(String method, String url, String body)
            throws IOException {
        HttpURLConnection c = (HttpURLConnection) URI.create(url).toURL().openConnection();
        c.setRequestMethod(method);
        c.setReadTimeout((int) TIMEOUT.toMillis());
        c.setDoOutput(true);
        try (OutputStream out = c.getOutputStream()) {
            out.write(body.getBytes(StandardCharsets.UTF_8));
        }
        try (InputStream in = c.getInputStream()) {
            String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
            return new Answer(c.getResponseCode(), text);
        }
    }
}
