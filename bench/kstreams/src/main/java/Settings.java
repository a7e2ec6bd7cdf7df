import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Options;

/** The settings of Kafka Streams: its defaults, or those for large tables. */
final class Settings {
  private Settings() {}

  static Properties of(Map<String, String> job, boolean tuned) {
    Properties p = new Properties();
    String group = job.get("group");
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, group.isEmpty() ? "peer-" + job.get("topic") : group);
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.get("brokers"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, job.get("dir"));
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    if (tuned) {
      p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
      p.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_BYTES_CONFIG), 64 << 20);
      p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 8 << 20);
      p.put(StreamsConfig.consumerPrefix(ConsumerConfig.RECEIVE_BUFFER_CONFIG), 4 << 20);
      p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
      p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 << 10);
      p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
      p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
      p.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, LargeTables.class);
      p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
    }
    return p;
  }

  /** A block cache and memtables that suit millions of rows. */
  public static final class LargeTables implements RocksDBConfigSetter {
    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
      BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
      table.setBlockCache(new org.rocksdb.LRUCache(256L << 20));
      table.setCacheIndexAndFilterBlocks(true);
      table.setPinTopLevelIndexAndFilter(true);
      options.setTableFormatConfig(table);
      options.setWriteBufferSize(64L << 20);
      options.setMaxWriteBufferNumber(3);
      options.setIncreaseParallelism(Runtime.getRuntime().availableProcessors());
    }

    @Override
    public void close(String store, Options options) {
      // The cache lives as long as the store, which is the only one.
    }
  }
}
