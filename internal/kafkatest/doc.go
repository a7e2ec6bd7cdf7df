// Package kafkatest gives tests a Kafka broker, and lets one test body run
// against two of them: the in-process fake (kfake) and a real Apache Kafka.
//
//	func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }
//
//	func TestCopy(t *testing.T) {
//		kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
//			topic := b.CreateTopic(t, "copy", 2, 1, nil)
//			b.Produce(t, &kgo.Record{Topic: topic, Value: []byte("v")})
//		})
//	}
//
// # The real broker
//
// The real broker is Apache Kafka 4.3.1, started from its Maven artifacts with
// the java on the PATH (17 or newer). The artifacts are fetched once by mvn into
// the folder enrich/kafka-4.3.1 of the user's cache directory; neither
// containers nor an installation are needed. One broker is shared by all tests
// of a test binary, so topics have unique names ([Broker.CreateTopic]) and group
// and transactional ids should be made unique as well ([Unique]). Tests which
// stop brokers start their own with [StartCluster].
//
// Brokers listen on 127.0.0.1 only. They and their data go away with the test
// binary, however that ends; on systems other than Linux and macOS only if it
// ends by itself.
//
// # Environment
//
//   - KAFKA_BROKERS: comma separated addresses of a running Kafka to use in
//     place of the shared broker. Topics made there are deleted when their test
//     ends.
//   - ENRICH_REQUIRE_KAFKA=1: tests fail where they would have been skipped.
//
// # Skipping
//
// Tests which need the real broker are skipped, with the reason, under go test
// -short, without java, and where the artifacts cannot be fetched. A broker that
// is there and does not start is a failure.
package kafkatest
