package kafkatest

import (
	"errors"
	"os"
	"testing"
)

const (
	envRequire = "ENRICH_REQUIRE_KAFKA"
	envBrokers = "KAFKA_BROKERS"
)

// errUnavailable marks the reasons for which this machine cannot run a real
// broker at all: a reason to skip, unlike a broker which fails to start.
var errUnavailable = errors.New("kafkatest: no real Kafka here")

type verdict int

const (
	verdictRun verdict = iota
	verdictSkip
	verdictFail
)

// decide says what becomes of a test which needs the real broker, and why. The
// error is that of obtaining the broker, nil before it was tried.
func decide(short, required bool, err error) (verdict, string) {
	switch {
	case err == nil && short && !required:
		return verdictSkip, "kafkatest: -short leaves out the real Kafka; set " + envRequire + "=1 to include it"
	case err == nil:
		return verdictRun, ""
	case errors.Is(err, errUnavailable) && !required:
		return verdictSkip, err.Error()
	case errors.Is(err, errUnavailable):
		return verdictFail, err.Error() + " (and " + envRequire + "=1 requires it)"
	default:
		return verdictFail, err.Error()
	}
}

// obtain runs get, unless the test is to be skipped, and returns what it got.
func obtain[T any](t testing.TB, get func() (T, error)) T {
	t.Helper()
	required := os.Getenv(envRequire) == "1"
	settle := func(err error) {
		t.Helper()
		switch v, why := decide(testing.Short(), required, err); v {
		case verdictSkip:
			t.Skip(why)
		case verdictFail:
			t.Fatal(why)
		}
	}
	settle(nil)
	got, err := get()
	if err != nil {
		settle(err)
	}
	return got
}
