package kafkatest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(envChild) != "" {
		os.Exit(childMain())
	}
	os.Exit(Main(m))
}
