package kafkatest

// StartBroker starts one real broker for a program that is no test, and returns
// its addresses and what ends it. It fails where no real broker can run, see the
// package comment.
func StartBroker() (addrs []string, stop func() error, err error) {
	g, err := newGroup(1)
	if err != nil {
		return nil, nil, err
	}
	return g.addrs(), g.close, nil
}
