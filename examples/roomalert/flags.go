package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/mail"
	"os"
	"strings"
)

// config is what the flags say, checked.
type config struct {
	kafka  kafkaConfig
	smtp   smtpConfig
	from   *mail.Address
	state  string // "": everything is temporary
	follow bool
	keep   bool

	devicesFile  string
	readingFiles []string

	devicesTopic, readingsTopic string
	acceptUncompacted           bool
}

// kafkaConfig says where Kafka is.
type kafkaConfig struct {
	brokers                   []string // none: an in-process broker
	tls                       bool
	tlsCA                     string
	mechanism, user, password string
}

// smtpConfig says where mails go.
type smtpConfig struct {
	addr           string // "": an in-process catcher
	user, password string
	tlsCA          string
}

// The environment variables that passwords come from.
const (
	envSMTPPassword = "ROOMALERT_SMTP_PASSWORD"
	envSASLPassword = "ROOMALERT_SASL_PASSWORD"
)

// saslMechanisms are the values that -sasl-mechanism takes.
const saslMechanisms = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"

// fileList is a flag that may be given several times.
type fileList []string

func (l *fileList) String() string { return strings.Join(*l, " ") }

func (l *fileList) Set(name string) error {
	if name == "" {
		return errors.New("needs a file name")
	}
	*l = append(*l, name)
	return nil
}

// parseFlags returns flag.ErrHelp after it has printed the flags to w.
func parseFlags(args []string, w io.Writer) (*config, error) {
	var (
		c                config
		brokers, from    string
		smtpPasswordFile string
		saslPasswordFile string
		fs               = flag.NewFlagSet("roomalert", flag.ContinueOnError)
	)
	fs.SetOutput(io.Discard) // run prints errors
	fs.StringVar(&brokers, "brokers", "", "`host:port,...` of a Kafka cluster; without it, a broker runs in this process")
	fs.BoolVar(&c.kafka.tls, "tls", false, "reach the brokers with TLS")
	fs.StringVar(&c.kafka.tlsCA, "tls-ca", "", "PEM `file` with the authorities that sign the brokers' certificates; default: the system's")
	fs.StringVar(&c.kafka.mechanism, "sasl-mechanism", "", saslMechanisms)
	fs.StringVar(&c.kafka.user, "sasl-user", "", "`name` to log in to the brokers with; password: $"+envSASLPassword+" or -sasl-password-file")
	fs.StringVar(&saslPasswordFile, "sasl-password-file", "", "`file` that holds the brokers' password")
	fs.StringVar(&c.devicesTopic, "devices-topic", "devices", "`name` of the device master's topic; created compacted if missing")
	fs.StringVar(&c.readingsTopic, "readings-topic", "readings", "`name` of the readings' topic; created if missing")
	fs.BoolVar(&c.acceptUncompacted, "accept-uncompacted", false, "work with a device master topic that is not compacted")

	fs.StringVar(&c.devicesFile, "devices", "", "CSV `file` of devices, header "+devicesHeader+"; default: the example's without -brokers, none with it")
	fs.Var((*fileList)(&c.readingFiles), "readings", "CSV `file...` of readings: time,device,temperature in °F,humidity in %; default: the example's without -brokers, none with it")

	fs.StringVar(&c.smtp.addr, "smtp", "", "`host:port` of the SMTP server; without it, mails go to a catcher in this process")
	fs.StringVar(&c.smtp.user, "smtp-user", "", "`name` to log in to the SMTP server with, which then has to offer STARTTLS; password: $"+envSMTPPassword+" or -smtp-password-file")
	fs.StringVar(&smtpPasswordFile, "smtp-password-file", "", "`file` that holds the SMTP server's password")
	fs.StringVar(&c.smtp.tlsCA, "smtp-tls-ca", "", "PEM `file` with the authorities that sign the SMTP server's certificate; default: the system's")
	fs.StringVar(&from, "from", "roomalert@example.com", "`address` that mails come from")

	fs.StringVar(&c.state, "state", "", "`directory` for everything that has to survive a restart; without it, all is temporary")
	fs.BoolVar(&c.follow, "follow", false, "go on with live readings until Ctrl-C")
	fs.BoolVar(&c.keep, "keep", false, "leave the in-process broker up after the summary, until Ctrl-C")

	args, err := spreadFiles(args)
	if err == nil {
		err = fs.Parse(args)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprint(w, "usage: roomalert [flags]\n\n")
		fs.SetOutput(w)
		fs.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, err
	case fs.NArg() > 0:
		return nil, fmt.Errorf("%q is not a flag, and nothing was expected there", fs.Arg(0))
	}
	if set(fs, "brokers") {
		if c.kafka.brokers, err = splitBrokers(brokers); err != nil {
			return nil, err
		}
	}
	if set(fs, "state") && c.state == "" {
		return nil, errors.New("-state needs a directory")
	}
	if c.from, err = mail.ParseAddress(from); err != nil {
		return nil, fmt.Errorf("-from %q is not a mail address: %w", from, err)
	}
	return &c, errors.Join(c.validate(), c.kafka.validate(saslPasswordFile), c.smtp.validate(smtpPasswordFile))
}

// spreadFiles lets one -readings take several files, as a shell makes of
// probes*.csv: each file name that follows gets a flag of its own.
func spreadFiles(args []string) ([]string, error) {
	var out []string
	files := -1 // since the last -readings; -1: something else came after it
	for _, a := range append(args, "-") {
		name, _, assigned := strings.Cut(a, "=")
		name = strings.TrimPrefix(name, "-")
		isReadings := name == "-readings" || name == "readings" && a != name
		switch {
		case files >= 0 && !strings.HasPrefix(a, "-"):
			out = append(out, "-readings", a)
			files++
			continue
		case files == 0:
			return nil, errors.New("flag needs an argument: -readings")
		}
		files = -1
		switch {
		case isReadings && assigned:
			files = 1
		case isReadings:
			files = 0
			continue
		}
		out = append(out, a)
	}
	return out[:len(out)-1], nil
}

func set(fs *flag.FlagSet, name string) (found bool) {
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func splitBrokers(list string) ([]string, error) {
	var brokers []string
	for b := range strings.SplitSeq(list, ",") {
		b = strings.TrimSpace(b)
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, fmt.Errorf("-brokers %q: want host:port,...: %w", list, err)
		}
		brokers = append(brokers, b)
	}
	return brokers, nil
}

func (c *config) validate() error {
	switch {
	case c.keep && len(c.kafka.brokers) > 0:
		return errors.New("-keep leaves the in-process broker up; with -brokers there is none")
	case c.keep && c.follow:
		return errors.New("-follow runs until Ctrl-C and so keeps the broker up by itself; leave -keep out")
	case c.devicesTopic == "" || c.readingsTopic == "" || c.devicesTopic == c.readingsTopic:
		return fmt.Errorf("-devices-topic %q and -readings-topic %q have to be two topics", c.devicesTopic, c.readingsTopic)
	}
	return nil
}

func (k *kafkaConfig) validate(passwordFile string) error {
	secured := k.tls || k.tlsCA != "" || k.mechanism != "" || k.user != "" || passwordFile != ""
	switch {
	case secured && len(k.brokers) == 0:
		return errors.New("the -tls and -sasl flags are for -brokers; the in-process broker has neither")
	case k.tlsCA != "" && !k.tls:
		return errors.New("-tls-ca needs -tls")
	case k.mechanism == "" && (k.user != "" || passwordFile != ""):
		return errors.New("-sasl-user needs -sasl-mechanism: " + saslMechanisms)
	case k.mechanism == "":
		return nil
	}
	switch k.mechanism {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		return fmt.Errorf("-sasl-mechanism %q: want %s", k.mechanism, saslMechanisms)
	}
	if k.user == "" {
		return errors.New("-sasl-mechanism needs -sasl-user")
	}
	var err error
	k.password, err = password("-sasl-password-file", passwordFile, envSASLPassword)
	return err
}

func (s *smtpConfig) validate(passwordFile string) error {
	if s.addr == "" {
		if s.user != "" || passwordFile != "" || s.tlsCA != "" {
			return errors.New("-smtp-user, -smtp-password-file and -smtp-tls-ca need -smtp")
		}
		return nil
	}
	if host, port, err := net.SplitHostPort(s.addr); err != nil || host == "" || port == "" {
		return fmt.Errorf("-smtp %q: want host:port", s.addr)
	}
	if s.user == "" {
		if passwordFile != "" {
			return errors.New("-smtp-password-file needs -smtp-user")
		}
		return nil
	}
	var err error
	s.password, err = password("-smtp-password-file", passwordFile, envSMTPPassword)
	return err
}

// password reads a secret from a file, or else from the environment. Neither
// shows in the list of processes.
func password(flagName, file, env string) (string, error) {
	if file == "" {
		if p := os.Getenv(env); p != "" {
			return p, nil
		}
		return "", fmt.Errorf("no password: set $%s or give %s", env, flagName)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flagName, err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" {
		return "", fmt.Errorf("%s: %s is empty", flagName, file)
	}
	return p, nil
}
