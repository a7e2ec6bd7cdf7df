package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func TestQuickstart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	require.NoError(t, run(ctx, &out))
	require.Equal(t, `d1 {"Room":"Room 204","Celsius":27.5,"TooHot":false}
d2 {"Room":"Room 311","Celsius":27.5,"TooHot":true}
`, out.String())
}

func TestQuickstartStaysShort(t *testing.T) {
	b, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.Less(t, strings.Count(string(b), "\n"), 80)
}

func TestQuickstartStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, &bytes.Buffer{}), context.Canceled)
}
