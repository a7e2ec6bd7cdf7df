import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/** A stream of readings joined with the table, with and without an output topic. */
final class Join {
  private static final byte[] BEFORE = "{\"reading\":".getBytes(StandardCharsets.US_ASCII);
  private static final byte[] BETWEEN = ",\"device\":".getBytes(StandardCharsets.US_ASCII);
  private final Peer peer;
  private final AtomicLong first = new AtomicLong();
  private final AtomicInteger left;
  private final CountDownLatch done = new CountDownLatch(1);
  private final AtomicLong last = new AtomicLong();
  private final String out;

  Join(Peer peer, StreamsBuilder builder, GlobalKTable<String, byte[]> table) {
    this.peer = peer;
    left = new AtomicInteger(peer.number("readings"));
    out = peer.job.get("out");
    KStream<String, byte[]> readings = builder.stream(peer.job.get("stream"), Consumed.with(Serdes.String(), Serdes.ByteArray()));
    if (out.isEmpty()) {
      readings.join(table, (key, value) -> begin(key), (reading, row) -> row).foreach((key, row) -> end());
      return;
    }
    readings.join(table, (key, value) -> begin(key), (reading, row) -> {
      byte[] made = new byte[BEFORE.length + reading.length + BETWEEN.length + row.length + 1];
      System.arraycopy(BEFORE, 0, made, 0, BEFORE.length);
      System.arraycopy(reading, 0, made, BEFORE.length, reading.length);
      System.arraycopy(BETWEEN, 0, made, BEFORE.length + reading.length, BETWEEN.length);
      System.arraycopy(row, 0, made, made.length - 1 - row.length, row.length);
      made[made.length - 1] = '}';
      end();
      return made;
    }).to(out, Produced.with(Serdes.String(), Serdes.ByteArray()));
  }

  private String begin(String key) {
    if (first.get() == 0) {
      first.compareAndSet(0, System.nanoTime());
    }
    return key;
  }

  private void end() {
    if (left.decrementAndGet() == 0) {
      last.set(System.nanoTime());
      done.countDown();
    }
  }

  void await() throws Exception {
    done.await();
    if (!out.isEmpty()) {
      awaitOutputs();
    }
    double seconds = (last.get() - first.get()) / 1e9;
    peer.figures.put("readings_per_s", peer.number("readings") / seconds);
  }

  /** Waits until the broker has all outputs. */
  private void awaitOutputs() throws Exception {
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", peer.job.get("brokers")))) {
      Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
      admin.describeTopics(java.util.List.of(out)).allTopicNames().get().get(out).partitions()
          .forEach(p -> ends.put(new TopicPartition(out, p.partition()), OffsetSpec.latest()));
      long outputs = 0;
      while (outputs < peer.number("readings")) {
        outputs = admin.listOffsets(ends).all().get().values().stream().mapToLong(ListOffsetsResultInfo::offset).sum();
        last.set(System.nanoTime());
      }
    }
  }
}
