import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

/** A GlobalKTable that answers "rows", or "rows" and keys, with its state and rows. */
final class Truth {
  private final KafkaStreams streams;

  Truth(KafkaStreams streams) {
    this.streams = streams;
  }

  void run() throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      System.out.println("= " + streams.state() + rows(line.split(" ")));
      System.out.flush();
    }
    streams.close(Duration.ofSeconds(10));
  }

  private String rows(String[] asked) {
    StringBuilder out = new StringBuilder();
    try {
      ReadOnlyKeyValueStore<String, byte[]> table =
          streams.store(StoreQueryParameters.fromNameAndType("table", QueryableStoreTypes.keyValueStore()));
      for (int i = 1; i < asked.length; i++) {
        byte[] value = table.get(asked[i]);
        if (value != null) {
          add(out, asked[i], value);
        }
      }
      if (asked.length == 1) {
        try (KeyValueIterator<String, byte[]> all = table.all()) {
          while (all.hasNext()) {
            KeyValue<String, byte[]> row = all.next();
            add(out, row.key, row.value);
          }
        }
      }
    } catch (RuntimeException e) {
      return ""; // it has no rows to show in this state
    }
    return out.toString();
  }

  private static void add(StringBuilder out, String key, byte[] value) {
    out.append(' ').append(key).append('=').append(new String(value, StandardCharsets.UTF_8).replace(' ', '_'));
  }
}
