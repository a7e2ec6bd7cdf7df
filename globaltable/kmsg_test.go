package globaltable

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
)

var stringKey = codec.String()

func kmsgDeleteRecords(upTo map[string]map[int32]int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	for topic, parts := range upTo {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for p, at := range parts {
			dp := kmsg.NewDeleteRecordsRequestTopicPartition()
			dp.Partition, dp.Offset = p, at
			t.Partitions = append(t.Partitions, dp)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}
