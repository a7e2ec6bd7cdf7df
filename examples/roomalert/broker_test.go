package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestTLSAndSASL(t *testing.T) {
	serverTLS, ca := selfSigned(t)
	files := []string{
		"-devices", write(t, "d.csv", devicesHeader+"\n"+goodRow),
		"-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,90,2\n"),
	}
	const done = "readings=1 joined=1 unmatched=0 dropped=0 alerts=1 resolved=0 mails=1"
	t.Run("TLS", func(t *testing.T) {
		b := kafkatest.Fake(t, kfake.TLS(serverTLS))
		r := runProgram(t.Context(), with(files, "-brokers", b.Addrs()[0], "-tls", "-tls-ca", ca)...)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, done, r.last())

		// A certificate that nobody vouches for is told, and not accepted.
		p := startProgram(t, with(files, "-brokers", b.Addrs()[0], "-tls")...)
		p.until("certificate")
		require.Equal(t, exitInterrupted, p.interrupt().code)
	})
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			b := kafkatest.Fake(t, kfake.TLS(serverTLS), kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "secret"))
			t.Setenv(envSASLPassword, "secret")
			flags := with(files, "-brokers", b.Addrs()[0], "-tls", "-tls-ca", ca, "-sasl-mechanism", mechanism, "-sasl-user", "me")
			r := runProgram(t.Context(), flags...)
			require.Equal(t, exitDone, r.code, r.stderr)
			require.Equal(t, done, r.last())

			// The fake hangs up on a wrong password, as old brokers do.
			t.Setenv(envSASLPassword, "wrong")
			p := startProgram(t, flags...)
			p.until("EOF (it hung up: check -tls and the -sasl flags); trying again until it works")
			require.Equal(t, exitInterrupted, p.interrupt().code)

			// Kafka says what is wrong.
			b.Fake().ControlKey(kmsg.SASLAuthenticate.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
				b.Fake().KeepControl()
				resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
				resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
				return resp, nil, true
			})
			r = runProgram(t.Context(), flags...)
			require.Equal(t, exitFailed, r.code, r.stderr)
			require.Contains(t, r.stderr, "SASL_AUTHENTICATION_FAILED")
			require.Contains(t, r.stderr, "check -sasl-user and the password")
		})
	}
}

func TestMailsWithLoginAndStartTLS(t *testing.T) {
	want := example(t)
	config, ca := selfSigned(t)
	server := newSMTPServer(t)
	server.tls, server.user, server.password = config, "me", "secret"
	server.start()
	t.Setenv(envSMTPPassword, "secret")
	r := runProgram(t.Context(), "-smtp", server.addr, "-smtp-user", "me", "-smtp-tls-ca", ca)
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
	require.Len(t, server.ids(), 2*len(want.episodes))
	for _, m := range server.caught() {
		require.True(t, m.tls)
	}
	require.NotContains(t, r.stdout+r.stderr, "secret")
}

func TestInProcessBrokerKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	for i := range int64(2) {
		c, err := startBroker(dir)
		require.NoError(t, err)
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
		require.NoError(t, err)
		cluster, err := newCluster(c.ListenAddrs(), nil, newConsole(&output{}, &output{}, false))
		require.NoError(t, err)
		require.NoError(t, cluster.ensureTopics(t.Context(), specs(&config{devicesTopic: "d", readingsTopic: "r"})))
		rec := &kgo.Record{Topic: "r", Key: []byte("k")}
		require.NoError(t, cl.ProduceSync(t.Context(), rec).FirstErr())
		require.Equal(t, i, rec.Offset)
		cluster.close()
		cl.Close()
		c.Close()
	}
}
