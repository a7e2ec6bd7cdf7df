package kafkatest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

//go:embed server.properties.tmpl
var propertiesText string

var propertiesTemplate = template.Must(template.New("server.properties").Parse(propertiesText))

// tailBytes is how much of a process's output an error shows.
const tailBytes = 4000

// stopTimeout bounds an orderly shutdown.
const stopTimeout = 60 * time.Second

// properties fills in server.properties.tmpl.
type properties struct {
	ID, Port, ControllerPort int
	Voters                   string
	DataDir                  string
	Replicas, MinISR         int
}

// A node is one broker process, running or not, and its folder.
type node struct {
	props properties
	dir   string
	java  string
	jars  string
	heap  string
	guard *guard

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

func (n *node) addr() string      { return "127.0.0.1:" + strconv.Itoa(n.props.Port) }
func (n *node) propsPath() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) logPath() string   { return filepath.Join(n.dir, "output.log") }

// format writes the node's configuration and makes its data folder one of the
// given cluster.
func (n *node) format(clusterID string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return fmt.Errorf("kafkatest: %w", err)
	}
	var text bytes.Buffer
	if err := propertiesTemplate.Execute(&text, n.props); err != nil {
		return fmt.Errorf("kafkatest: %w", err)
	}
	if err := os.WriteFile(n.propsPath(), text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("kafkatest: %w", err)
	}
	if err := n.run("kafka.tools.StorageTool", "format", "-t", clusterID, "-c", n.propsPath()); err != nil {
		return err
	}
	<-n.exited
	if !n.cmd.ProcessState.Success() {
		err := fmt.Errorf("kafkatest: formatting the data folder: %v\n%s", n.cmd.ProcessState, n.tail())
		if strings.Contains(err.Error(), "UnsupportedClassVersionError") {
			return fmt.Errorf("%w: java is older than 17: %w", errUnavailable, err)
		}
		return err
	}
	return nil
}

// start starts the broker process. It does not wait for it to answer.
func (n *node) start() error { return n.run("kafka.Kafka", n.propsPath()) }

// run starts one of Kafka's main classes as the node's process.
func (n *node) run(class string, args ...string) error {
	out, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("kafkatest: %w", err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(n.java, append([]string{
		"-Xmx" + n.heap,
		"-XX:+UseSerialGC",
		"-XX:TieredStopAtLevel=1", // half the time to start
		"-XX:-UsePerfData",        // which would leave a file in the temp folder
		"-XX:+ExitOnOutOfMemoryError",
		"-XX:ErrorFile=" + filepath.Join(n.dir, "hs_err.log"),
		"-Djava.io.tmpdir=" + n.dir, // compression codecs unpack native code there
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", filepath.Join(n.jars, "*"),
		class,
	}, args...)...)
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = out, out
	if err := n.guard.start(cmd); err != nil {
		return fmt.Errorf("kafkatest: starting %s: %w", class, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // the outcome is read from cmd.ProcessState
		n.guard.forget(cmd.Process.Pid)
	}()
	n.cmd, n.exited = cmd, exited
	return nil
}

func (n *node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// stop asks the broker to shut down and waits until it has.
func (n *node) stop() error {
	if !n.running() {
		return nil
	}
	if err := terminate(n.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kafkatest: stopping broker %d: %w", n.props.ID, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-n.exited:
		return nil
	case <-timer.C:
		return errors.Join(
			fmt.Errorf("kafkatest: broker %d did not stop within %v\n%s", n.props.ID, stopTimeout, n.tail()), n.kill())
	}
}

// kill ends the broker at once and waits until it is gone.
func (n *node) kill() error {
	if !n.running() {
		return nil
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kafkatest: killing broker %d: %w", n.props.ID, err)
	}
	<-n.exited
	return nil
}

// tail returns the end of what the node's processes have written.
func (n *node) tail() string {
	out, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(lastBytes(out, tailBytes))
}

// errExited is the cause of a wait for a broker which has ended meanwhile.
var errExited = errors.New("the broker has ended")

// awaitReady waits until the broker itself answers a metadata request with a
// list that names all the given brokers. A broker that has ended will not.
func (n *node) awaitReady(ctx context.Context, ids []int32) error {
	ctx, cancel := context.WithCancelCause(ctx)
	exited, watched := n.exited, make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-exited:
			cancel(errExited)
		case <-ctx.Done():
		}
	}()
	err := awaitBrokers(ctx, n.addr(), ids)
	cancel(nil)
	<-watched
	if err != nil {
		return fmt.Errorf("kafkatest: broker %d is not ready: %w\n%s", n.props.ID, err, n.tail())
	}
	return nil
}

// awaitBrokers waits until the broker at addr names all the given brokers, at
// least one.
func awaitBrokers(ctx context.Context, addr string, ids []int32) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	// A seed broker by its address: the client itself might ask another one.
	seed := cl.SeedBrokers()[0]
	return poll(ctx, 50*time.Millisecond, func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		resp, err := req.RequestWith(ctx, seed)
		if err != nil {
			return err
		}
		var have []int32
		for _, b := range resp.Brokers {
			have = append(have, b.NodeID)
		}
		missing := slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return slices.Contains(have, id) })
		if len(missing) > 0 || len(have) == 0 {
			return fmt.Errorf("%s lists brokers %v of %v", addr, have, ids)
		}
		return nil
	})
}

// freePorts returns n ports of 127.0.0.1 nobody listens on. They lie below the
// ranges from which systems take the local ports of outgoing connections: a
// stopped broker's port has to be free when it comes back.
func freePorts(n int) ([]int, error) {
	const low, high, tries = 15000, 32000, 1000
	var ports []int
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return nil, fmt.Errorf("kafkatest: no %d free ports between %d and %d on 127.0.0.1", n, low, high)
}
