package awstest

import (
	"bytes"
	_ "embed" // for the pinned versions
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/testenv"
)

var (
	//go:embed emulators/pom.xml
	dynamoDBPom []byte
	//go:embed emulators/dynamodb-local.sha256
	dynamoDBSums []byte
	//go:embed emulators/ministack.txt
	miniStackPins []byte
)

// patience is how long an emulator may take until its first response on a busy machine.
const patience = 2 * time.Minute

// running is true once [Run], which ends the emulators, was called.
var running atomic.Bool

// program is an emulator that can be started.
type program struct {
	name   string
	folder string // below .cache/emulators
	pins   [][]byte
	// command starts it to serve port and to store its files in scratch.
	command func(folder, scratch string, port int) *exec.Cmd
	// ready returns a request. The response has status 200 once the emulator is ready.
	ready func(endpoint string) (*http.Request, error)
}

var dynamoDBLocal = program{
	name:   "DynamoDB Local",
	folder: "dynamodb-local",
	pins:   [][]byte{dynamoDBPom, dynamoDBSums},
	command: func(folder, _ string, port int) *exec.Cmd {
		lib := filepath.Join(folder, "lib")
		return exec.Command("java",
			// These options halve its start time and leave the other core to the tests.
			"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
			"-Djava.library.path="+lib, "-cp", filepath.Join(lib, "*"),
			"software.amazon.dynamodb.services.local.main.ServerRunner",
			"-inMemory", "-sharedDb", "-disableTelemetry", "-port", strconv.Itoa(port))
	},
	ready: func(endpoint string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader("{}"))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-amz-json-1.0")
			r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/"+Region+"/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
		}
		return r, err
	},
}

var miniStackServer = program{
	name:   "MiniStack",
	folder: "ministack",
	pins:   [][]byte{miniStackPins},
	command: func(folder, scratch string, port int) *exec.Cmd {
		c := exec.Command(filepath.Join(folder, "bin", "python"), "-m", "ministack")
		c.Env = append(os.Environ(), //nolint:forbidigo // a child process inherits the environment
			"GATEWAY_PORT="+strconv.Itoa(port),
			"BIND_HOST=127.0.0.1",
			"MINISTACK_REGION="+Region,
			"MINISTACK_ACCOUNT_ID="+Account,
			"AWS_DEFAULT_REGION="+Region,
			"AWS_ACCESS_KEY_ID=test",
			"AWS_SECRET_ACCESS_KEY=test",
			"TMPDIR="+scratch,
			"STATE_DIR="+filepath.Join(scratch, "state"),
			"S3_DATA_DIR="+filepath.Join(scratch, "s3"),
			"PERSIST_STATE=0",
			"PYTHONUNBUFFERED=1",
		)
		return c
	},
	ready: func(endpoint string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, endpoint+"/_ministack/health", http.NoBody)
	},
}

// miniStackWithIAM is MiniStack with checks of signatures and permissions.
var miniStackWithIAM = program{
	name:   "MiniStack with IAM",
	folder: miniStackServer.folder,
	pins:   miniStackServer.pins,
	command: func(folder, scratch string, port int) *exec.Cmd {
		c := miniStackServer.command(folder, scratch, port)
		c.Env = append(c.Env, "AUTH=true")
		return c
	},
	ready: miniStackServer.ready,
}

// server is a program that is started on first use.
type server struct {
	program program

	once  sync.Once
	e     *Emulator
	err   error
	stop  func()
	files []string // to remove
}

func (s *server) get(t testing.TB) *Emulator {
	t.Helper()
	if !running.Load() {
		t.Fatal("awstest: TestMain does not call awstest.Run, which ends the emulators")
	}
	testenv.Needs(t, s.program.folder)
	s.once.Do(func() { s.err = s.start() })
	if s.err != nil {
		t.Fatalf("awstest: %v", s.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s is kept in %s", s.e.Name, s.e.logFile)
		}
	})
	return s.e
}

func (s *server) end(clean bool) {
	if s.stop != nil {
		s.stop()
	}
	for _, f := range s.files {
		if clean || s.e == nil || f != s.e.logFile {
			_ = os.RemoveAll(f) // leftovers are in temporary folders
		}
	}
}

func (s *server) start() error {
	root, err := root()
	if err != nil {
		return err
	}
	cache := filepath.Join(root, ".cache", "emulators")
	folder := filepath.Join(cache, s.program.folder)
	installed, err := os.ReadFile(filepath.Join(folder, "installed"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s is not installed: make emulators installs it", s.program.name)
	case err != nil:
		return err
	case !bytes.Equal(installed, bytes.Join(s.program.pins, nil)):
		return fmt.Errorf("%s is not the pinned version: make emulators installs it", s.program.name)
	}
	logs := filepath.Join(cache, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	logFile, err := os.CreateTemp(logs, s.program.folder+"-*.log")
	if err != nil {
		return err
	}
	defer logFile.Close() //nolint:errcheck // the child has its own descriptor
	scratch, err := os.MkdirTemp("", "awstest")
	if err != nil {
		return err
	}
	s.files = []string{logFile.Name(), scratch}
	// Another program may take the port first.
	for range 3 {
		var port int
		port, err = s.freePort(cache)
		if err != nil {
			return err
		}
		endpoint := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		cmd := s.program.command(folder, scratch, port)
		cmd.Dir = scratch
		cmd.Stdout, cmd.Stderr = logFile, logFile
		if err = s.try(cmd, endpoint); err == nil {
			s.e = &Emulator{Name: s.program.name, Endpoint: endpoint, logFile: logFile.Name()}
			return nil
		}
	}
	out, readErr := os.ReadFile(logFile.Name())
	return errors.Join(fmt.Errorf("%s does not start: %w; its log ends with:\n%s", s.program.name, err, out[max(0, len(out)-4000):]), readErr)
}

// try starts cmd and waits for its first response.
func (s *server) try(cmd *exec.Cmd, endpoint string) error {
	ended, err := Start(cmd)
	if err != nil {
		return err
	}
	stop := sync.OnceFunc(func() {
		kill(cmd)
		<-ended
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ended:
			stop()
			return fmt.Errorf("the process ended before it responded: %v", cmd.ProcessState)
		case <-deadline.C:
			stop()
			return fmt.Errorf("it did not respond within %v", patience)
		case <-again.C:
		}
		if s.answers(client, endpoint) {
			select {
			case <-ended: // another program listens on the port
				continue
			default:
			}
			s.stop = stop
			return nil
		}
	}
}

func (s *server) answers(client *http.Client, endpoint string) bool {
	r, err := s.program.ready(endpoint)
	if err != nil {
		return false
	}
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status matters
	return resp.StatusCode == http.StatusOK
}

// freePort returns a port that no program listens on and that no other test binary gets
// while this one runs.
func (s *server) freePort(cache string) (int, error) {
	folder := filepath.Join(cache, "ports")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		ours, err := claim(filepath.Join(folder, strconv.Itoa(port)))
		if err := errors.Join(err, l.Close()); err != nil {
			return 0, err
		}
		if ours {
			return port, nil
		}
	}
	return 0, errors.New("no port is free")
}

// root returns the root folder of the repository.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; {
		if _, err := os.Stat(filepath.Join(d, "aws", "internal", "awstest", "emulators", "pom.xml")); err == nil {
			return d, nil
		}
		up := filepath.Dir(d)
		if up == d {
			return "", fmt.Errorf("%s is not inside the repository", dir)
		}
		d = up
	}
}
