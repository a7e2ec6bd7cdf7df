package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// place is what brokers say of a topic. An empty id is one that they do not
// tell.
type place struct {
	cluster, topic, topicID string
	ends                    map[int32]int64 // where each partition's log ends
}

// belongTo checks that the state's offsets mean something in a topic, and binds
// a new state to it. Another topic under the same name, or one that has lost
// records, would make readings look as if they were applied already.
func (s *state) belongTo(p place, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.meta
	hint := fmt.Sprintf("Give another -state, or remove %s to start anew", dir)
	switch {
	case m.Topic != "" && m.Topic != p.topic:
		return fmt.Errorf("the state in %s is about topic %s, not %s. %s", dir, m.Topic, p.topic, hint)
	case differ(m.Cluster, p.cluster):
		return fmt.Errorf("the state in %s is about topic %s of cluster %s, but these brokers are cluster %s. %s",
			dir, m.Topic, m.Cluster, p.cluster, hint)
	case differ(m.TopicID, p.topicID):
		return fmt.Errorf("the state in %s is about topic %s of id %s, but the topic was deleted and created again since, as %s. %s",
			dir, m.Topic, m.TopicID, p.topicID, hint)
	}
	for part, next := range s.applied {
		if end, ok := p.ends[part]; !ok || end < next {
			return fmt.Errorf("the state in %s has seen partition %d of topic %s up to offset %d, but the partition ends at %d: the brokers have lost readings. %s",
				dir, part, p.topic, next, end, hint)
		}
	}
	if m.Topic != "" && m.Cluster != "" && m.TopicID != "" {
		return nil
	}
	m.Topic = p.topic
	m.Cluster = or(m.Cluster, p.cluster)
	m.TopicID = or(m.TopicID, p.topicID)
	return s.saveMeta()
}

func differ(a, b string) bool { return a != "" && b != "" && a != b }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// randomID returns a name that no other has.
func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
