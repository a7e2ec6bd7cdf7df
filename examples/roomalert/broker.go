package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// startBroker starts a broker in this process. With a directory it keeps its
// data there, each write on disk before it is acknowledged.
func startBroker(dir string) (*kfake.Cluster, error) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.ClusterID("roomalert-" + randomID())}
	if dir != "" {
		opts = append(opts, kfake.DataDir(dir), kfake.SyncWrites())
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start the in-process broker: %w", err)
	}
	return c, nil
}

// clientOpts returns what every Kafka client of the program needs to reach the
// brokers, apart from their addresses.
func (k *kafkaConfig) clientOpts() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.ClientID("roomalert")}
	if k.tls {
		roots, err := readRoots("-tls-ca", k.tlsCA)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}))
	}
	switch k.mechanism {
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: k.user, Pass: k.password}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: k.user, Pass: k.password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: k.user, Pass: k.password}.AsSha512Mechanism()))
	}
	return opts, nil
}

// readRoots returns nil, which stands for the system's authorities, if no file
// is named.
func readRoots(flagName, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flagName, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", flagName, file)
	}
	return pool, nil
}

// reach is a client hook that remembers why brokers cannot be reached.
type reach struct{ trouble atomic.Pointer[string] }

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (r *reach) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		r.trouble.Store(nil)
		return
	}
	if errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	text := fmt.Sprintf("broker %s: %v", net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port)), err)
	if errors.Is(err, io.EOF) {
		// All that some brokers do with a client that does not speak TLS, or
		// speaks it where it should not, or whose password is wrong.
		text += " (it hung up: check -tls and the -sasl flags)"
	}
	r.trouble.Store(&text)
}
