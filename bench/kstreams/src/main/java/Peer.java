import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

/**
 * Replicates a topic into a GlobalKTable with Kafka Streams' defaults and prints
 * one line of JSON: how long that took, and what lookups cost.
 *
 * Arguments: brokers topic directory rows lookups
 */
public final class Peer {
  public static void main(String[] args) throws Exception {
    String brokers = args[0], topic = args[1], dir = args[2];
    int rows = Integer.parseInt(args[3]), lookups = Integer.parseInt(args[4]);

    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-" + topic);
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    p.put(StreamsConfig.STATE_DIR_CONFIG, dir);
    StreamsBuilder builder = new StreamsBuilder();
    builder.globalTable(topic, Consumed.with(Serdes.String(), Serdes.ByteArray()), Materialized.as("table"));

    CountDownLatch running = new CountDownLatch(1);
    KafkaStreams streams = new KafkaStreams(builder.build(), p);
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING || now == KafkaStreams.State.ERROR) {
        running.countDown();
      }
    });
    long began = System.nanoTime();
    streams.start();
    running.await();
    long took = System.nanoTime() - began;
    if (streams.state() != KafkaStreams.State.RUNNING) {
      throw new IllegalStateException("state " + streams.state());
    }
    ReadOnlyKeyValueStore<String, byte[]> table =
        streams.store(StoreQueryParameters.fromNameAndType("table", QueryableStoreTypes.keyValueStore()));

    long lookupNanos = 0;
    if (lookups > 0) {
      SplittableRandom random = new SplittableRandom(1);
      for (int round = 0; round < 2; round++) { // the first one warms up
        long from = System.nanoTime();
        for (int i = 0; i < lookups; i++) {
          if (table.get(String.format("dev-%08d", random.nextInt(rows))) == null) {
            throw new IllegalStateException("a row is missing");
          }
        }
        lookupNanos = (System.nanoTime() - from) / lookups;
      }
    }
    System.out.printf("{\"seconds\":%.6f,\"lookup_ns\":%d,\"rss_kb\":%d}%n", took / 1e9, lookupNanos, peakRss());
    System.out.flush();
    streams.close();
  }

  private static long peakRss() throws Exception {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    for (String line : Files.readAllLines(status, StandardCharsets.UTF_8)) {
      if (line.startsWith("VmHWM:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    return 0;
  }
}
