package feed

import (
	"os"
	"testing"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }
