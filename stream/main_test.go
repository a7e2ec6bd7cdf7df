package stream

import (
	"os"
	"testing"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) {
	if os.Getenv(killEnv) != "" {
		os.Exit(killWorker())
	}
	os.Exit(kafkatest.Main(m))
}
