package main

import (
	"io"
	"os"
	"testing"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// envProgram makes the test binary the program itself, for tests that kill it.
const envProgram = "ROOMALERT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(envProgram) != "" {
		go func() {
			// It must not outlive the test that started it.
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(99)
		}()
		main()
		return
	}
	os.Exit(kafkatest.Main(m))
}
