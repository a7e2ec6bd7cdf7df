package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func parse(args ...string) (*config, error) { return parseFlags(args, io.Discard) }

func TestFlagDefaults(t *testing.T) {
	c, err := parse()
	require.NoError(t, err)
	require.Equal(t, "devices", c.devicesTopic)
	require.Equal(t, "readings", c.readingsTopic)
	require.Equal(t, "roomalert@example.com", c.from.Address)
	require.Empty(t, c.kafka.brokers)
	require.Empty(t, c.state)
}

func TestReadingsTakesSeveralFiles(t *testing.T) {
	want := []string{"a.csv", "b.csv", "c.csv"}
	for _, args := range [][]string{
		{"-readings", "a.csv", "b.csv", "c.csv", "-follow"},
		{"-readings", "a.csv", "-follow", "-readings", "b.csv", "c.csv"},
		{"--readings=a.csv", "--readings", "b.csv", "c.csv", "--follow"},
		{"-follow", "-readings=a.csv", "b.csv", "c.csv"},
	} {
		c, err := parse(args...)
		require.NoError(t, err, args)
		require.Equal(t, want, c.readingFiles, args)
		require.True(t, c.follow, args)
	}
}

func TestFlagsForKafkaAndSMTP(t *testing.T) {
	t.Setenv(envSASLPassword, "kafka secret")
	t.Setenv(envSMTPPassword, "smtp secret")
	c, err := parse("-brokers", "a:9092, b:9092", "-tls", "-tls-ca", "ca.pem", "-sasl-mechanism", "SCRAM-SHA-512", "-sasl-user", "me",
		"-smtp", "mail:587", "-smtp-user", "you", "-from", "Alerts <alerts@example.org>", "-state", "dir")
	require.NoError(t, err)
	require.Equal(t, kafkaConfig{[]string{"a:9092", "b:9092"}, true, "ca.pem", "SCRAM-SHA-512", "me", "kafka secret"}, c.kafka)
	require.Equal(t, smtpConfig{addr: "mail:587", user: "you", password: "smtp secret"}, c.smtp)
	require.Equal(t, "alerts@example.org", c.from.Address)

	file := write(t, "password", "from a file\r\n")
	c, err = parse("-brokers", "a:9092", "-sasl-mechanism", "PLAIN", "-sasl-user", "me", "-sasl-password-file", file,
		"-smtp", "mail:587", "-smtp-user", "you", "-smtp-password-file", file)
	require.NoError(t, err)
	require.Equal(t, "from a file", c.kafka.password)
	require.Equal(t, "from a file", c.smtp.password)
}

func TestBadFlags(t *testing.T) {
	require.NoError(t, os.Unsetenv(envSASLPassword))
	require.NoError(t, os.Unsetenv(envSMTPPassword))
	missing := filepath.Join(t.TempDir(), "none")
	empty := write(t, "empty", "\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-nosuch"}, "flag provided but not defined: -nosuch"},
		{[]string{"demo"}, `"demo" is not a flag, and nothing was expected there`},
		{[]string{"-follow", "true"}, `"true" is not a flag, and nothing was expected there`},
		{[]string{"-readings"}, "flag needs an argument: -readings"},
		{[]string{"-readings", "-follow"}, "flag needs an argument: -readings"},
		{[]string{"-brokers", ""}, `-brokers "": want host:port,...: missing port in address`},
		{[]string{"-brokers", "kafka"}, `-brokers "kafka": want host:port,...: address kafka: missing port in address`},
		{[]string{"-state", ""}, "-state needs a directory"},
		{[]string{"-from", "nobody"}, `-from "nobody" is not a mail address: mail: missing '@' or angle-addr`},
		{[]string{"-keep", "-brokers", "a:1"}, "-keep leaves the in-process broker up; with -brokers there is none"},
		{[]string{"-keep", "-follow"}, "-follow runs until Ctrl-C and so keeps the broker up by itself; leave -keep out"},
		{[]string{"-devices-topic", "x", "-readings-topic", "x"}, `-devices-topic "x" and -readings-topic "x" have to be two topics`},
		{[]string{"-tls"}, "the -tls and -sasl flags are for -brokers; the in-process broker has neither"},
		{[]string{"-brokers", "a:1", "-tls-ca", "x"}, "-tls-ca needs -tls"},
		{[]string{"-brokers", "a:1", "-sasl-user", "x"}, "-sasl-user needs -sasl-mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"},
		{[]string{"-brokers", "a:1", "-sasl-mechanism", "MD5"}, `-sasl-mechanism "MD5": want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`},
		{[]string{"-brokers", "a:1", "-sasl-mechanism", "PLAIN"}, "-sasl-mechanism needs -sasl-user"},
		{[]string{"-brokers", "a:1", "-sasl-mechanism", "PLAIN", "-sasl-user", "x"}, "no password: set $ROOMALERT_SASL_PASSWORD or give -sasl-password-file"},
		{[]string{"-smtp-user", "x"}, "-smtp-user, -smtp-password-file and -smtp-tls-ca need -smtp"},
		{[]string{"-smtp", "mail"}, `-smtp "mail": want host:port`},
		{[]string{"-smtp", ":25"}, `-smtp ":25": want host:port`},
		{[]string{"-smtp", "mail:25", "-smtp-password-file", "x"}, "-smtp-password-file needs -smtp-user"},
		{[]string{"-smtp", "mail:25", "-smtp-user", "x"}, "no password: set $ROOMALERT_SMTP_PASSWORD or give -smtp-password-file"},
		{[]string{"-smtp", "mail:25", "-smtp-user", "x", "-smtp-password-file", missing}, "-smtp-password-file: open " + missing + ": no such file or directory"},
		{[]string{"-smtp", "mail:25", "-smtp-user", "x", "-smtp-password-file", empty}, "-smtp-password-file: " + empty + " is empty"},
	} {
		r := runProgram(t.Context(), c.args...)
		require.Equal(t, exitUsage, r.code, c.args)
		require.Equal(t, "roomalert: "+c.want+"\nroomalert -h lists the flags.\n", r.stderr, c.args)
		require.Empty(t, r.stdout)
	}
}

func TestHelp(t *testing.T) {
	r := runProgram(t.Context(), "-h")
	require.Equal(t, exitDone, r.code)
	for _, flag := range []string{"-brokers", "-devices", "-readings", "-smtp", "-from", "-tls", "-sasl-mechanism", "-state", "-follow", "-keep"} {
		require.Contains(t, r.stderr, "\n  "+flag)
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	junk := write(t, "junk.pem", "no certificate")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-brokers", "a:1", "-tls", "-tls-ca", missing}, "-tls-ca: open " + missing},
		{[]string{"-brokers", "a:1", "-tls", "-tls-ca", junk}, "-tls-ca: " + junk + " holds no certificate in PEM form"},
		{[]string{"-smtp", "a:1", "-smtp-tls-ca", junk}, "-smtp-tls-ca: " + junk + " holds no certificate in PEM form"},
		{[]string{"-smtp", "a:nosuchport"}, `-smtp "a:nosuchport": `},
	} {
		r := runProgram(t.Context(), c.args...)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, "roomalert: "+c.want)
	}
}
