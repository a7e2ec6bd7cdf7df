package globaltable

import (
	"os"
	"testing"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) {
	if os.Getenv(killEnv) != "" {
		os.Exit(killedReplica())
	}
	os.Exit(kafkatest.Main(m))
}
