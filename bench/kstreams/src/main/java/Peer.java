import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

/**
 * One measurement of Kafka Streams: a GlobalKTable, its lookups, its updates, or a
 * join with it. The arguments are a job as name=value; the last line printed is the
 * figures as JSON. Lines that begin with "? " ask the parent for something; its
 * answer is a line.
 */
public final class Peer {
  final Map<String, String> job = new HashMap<>();
  final Map<String, Double> figures = new TreeMap<>();
  ReadOnlyKeyValueStore<String, byte[]> table;

  public static void main(String[] args) throws Exception {
    Peer p = new Peer();
    for (String arg : args) {
      int at = arg.indexOf('=');
      p.job.put(arg.substring(0, at), arg.substring(at + 1));
    }
    p.run();
  }

  int number(String name) {
    return Integer.parseInt(job.get(name));
  }

  String[] list(String name) {
    String s = job.get(name);
    return s.isEmpty() ? new String[0] : s.split(",");
  }

  void ask(String what) throws Exception {
    System.out.println("? " + what);
    System.out.flush();
    for (int c = System.in.read(); c != '\n'; c = System.in.read()) {
      if (c < 0) {
        throw new IllegalStateException("no answer to " + what);
      }
    }
  }

  private void run() throws Exception {
    boolean tuned = Boolean.parseBoolean(job.get("tuned"));
    StreamsBuilder builder = new StreamsBuilder();
    GlobalKTable<String, byte[]> global =
        builder.globalTable(job.get("topic"), Consumed.with(Serdes.String(), Serdes.ByteArray()), Materialized.as("table"));
    String work = job.get("work");
    Join join = work.equals("join") ? new Join(this, builder, global) : null;

    CountDownLatch running = new CountDownLatch(1);
    KafkaStreams streams = new KafkaStreams(builder.build(), Settings.of(job, tuned));
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING || now == KafkaStreams.State.ERROR) {
        running.countDown();
      }
    });
    long began = System.nanoTime();
    streams.start();
    if (work.equals("truth")) {
      new Truth(streams).run();
      return;
    }
    running.await();
    double seconds = (System.nanoTime() - began) / 1e9;
    if (streams.state() != KafkaStreams.State.RUNNING) {
      throw new IllegalStateException("state " + streams.state());
    }
    table = streams.store(StoreQueryParameters.fromNameAndType("table", QueryableStoreTypes.keyValueStore()));

    switch (work) {
      case "fill" -> {
        figures.put("seconds", seconds);
        figures.put("rows_per_s", number("rows") / seconds);
        figures.put("disk_ready_mb", diskUsed());
        double lookups = Double.parseDouble(job.get("seconds"));
        if (lookups > 0) {
          Lookups l = new Lookups(this);
          l.measure("uniform", l.keys("uniform", 100_000), 1, lookups);
        }
      }
      case "lookup" -> new Lookups(this).run();
      case "live" -> new Live(this).run();
      case "kill" -> new Live(this).untilKilled();
      case "join" -> join.await();
      default -> throw new IllegalArgumentException("there is no work " + work);
    }
    figures.put("heap_mb", (Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory()) / 1048576.0);
    figures.put("rss_mb", peakRss());
    if (Boolean.parseBoolean(job.get("count"))) {
      count();
    }
    streams.close();
    figures.put("disk_mb", diskUsed());
    StringBuilder out = new StringBuilder("{");
    figures.forEach((name, value) -> out.append(String.format(Locale.ROOT, "%s\"%s\":%.6f", out.length() > 1 ? "," : "", name, value)));
    System.out.println(out.append('}'));
  }

  private void count() {
    int rows = 0;
    try (KeyValueIterator<String, byte[]> all = table.all()) {
      for (; all.hasNext(); all.next()) {
        rows++;
      }
    }
    if (rows != number("rows")) {
      throw new IllegalStateException("it has " + rows + " rows, where the topic makes " + number("rows"));
    }
  }

  static String key(int n) {
    char[] out = {'d', 'e', 'v', '-', 0, 0, 0, 0, 0, 0, 0, 0};
    for (int i = 11; i > 3; i--, n /= 10) {
      out[i] = (char) ('0' + n % 10);
    }
    return new String(out);
  }

  /** The serial in a row's value, 16 hexadecimal digits. */
  long serial(String key) {
    byte[] value = table.get(key);
    String text = new String(value, StandardCharsets.ISO_8859_1);
    int at = text.indexOf("\"serial\":\"") + 10;
    return Long.parseUnsignedLong(text, at, at + 16, 16);
  }

  private double diskUsed() throws Exception {
    try (Stream<Path> files = Files.walk(Path.of(job.get("dir")))) {
      return files.filter(Files::isRegularFile).mapToLong(f -> f.toFile().length()).sum() / 1048576.0;
    }
  }

  private static double peakRss() throws Exception {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    for (String line : Files.readAllLines(status, StandardCharsets.UTF_8)) {
      if (line.startsWith("VmHWM:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", "")) / 1024.0;
      }
    }
    return 0;
  }
}
