package lambdarunner

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
)

// maxInit is how long a process may take to its first poll. Lambda allows 10 seconds;
// the test machine may be busy.
const maxInit = 30 * time.Second

// environment is one process of a function with its own Runtime API server. Each process
// needs its own server because its environment names only a host and a port.
type environment struct {
	f       *function
	cmd     *exec.Cmd
	server  *http.Server
	serving sync.WaitGroup

	ready chan struct{}    // receives one value while the process polls
	work  chan *invocation // to the waiting poll
	ended <-chan struct{}  // closed when the process has ended
	once  sync.Once        // of end

	mu      sync.Mutex
	started time.Time
	init    time.Duration // 0 before the first poll
	current *invocation   // has no answer yet
	killed  bool          // by the runner
}

// invocation is one delivery of a payload to a process.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answered chan answer // buffers one

	body []byte
	took time.Duration
}

type answer struct {
	body []byte
	err  *FunctionError
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func startEnvironment(f *function) (*environment, error) {
	e := &environment{f: f, ready: make(chan struct{}, 1), work: make(chan *invocation)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e.server = &http.Server{Handler: e.routes(), ReadHeaderTimeout: maxInit}
	e.cmd = exec.Command(f.r.opts.Binary)
	e.cmd.Dir = filepath.Dir(f.r.opts.Binary)
	e.cmd.Env = e.variables(l.Addr().String())
	out := f.r.log.printer(f.Name)
	e.cmd.Stdout, e.cmd.Stderr = out, out
	e.cmd.WaitDelay = time.Second // a grandchild may keep the output open
	e.started = now()
	if e.ended, err = awstest.Start(e.cmd); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	f.r.wg.Go(func() { _ = e.server.Serve(l) }) // always returns an error when it is closed
	return e, nil
}

// variables returns the environment that Lambda sets.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (e *environment) variables(api string) []string {
	o, f := e.f.r.opts, e.f
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + now().UTC().Format("2006/01/02") + "/[$LATEST]" + hex.EncodeToString([]byte(api)),
		"AWS_REGION=" + o.Region,
		"AWS_DEFAULT_REGION=" + o.Region,
		"AWS_ACCESS_KEY_ID=test",
		"AWS_SECRET_ACCESS_KEY=test",
		"AWS_SESSION_TOKEN=test",
		"_HANDLER=bootstrap",
		"LAMBDA_TASK_ROOT=" + e.cmd.Dir,
		"LAMBDA_RUNTIME_DIR=" + e.cmd.Dir,
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
		"PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
	}
	return append(append(env, o.Env...), f.Env...) // the last value of a variable counts
}

// routes returns the Runtime API.
func (e *environment) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			e.serving.Add(1)
			defer e.serving.Done()
			do(w, r)
		})
	}
	handle("GET /2018-06-01/runtime/invocation/next", e.onNext)
	handle("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		e.onAnswer(w, r, func(body []byte) answer { return answer{body: body} })
	})
	handle("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		e.onAnswer(w, r, func(body []byte) answer {
			var p struct {
				Message string `json:"errorMessage"`
				Type    string `json:"errorType"`
			}
			_ = json.Unmarshal(body, &p) // missing fields stay empty
			return answer{err: &FunctionError{
				Function: e.f.Name, Payload: body, Message: p.Message,
				Type: cmp.Or(p.Type, r.Header.Get("Lambda-Runtime-Function-Error-Type"), "Runtime.Unknown"),
			}}
		})
	})
	return mux
}

// onNext blocks the poll of the process until there is an invocation. As in Lambda, the
// process is frozen meanwhile: its goroutines do not run.
func (e *environment) onNext(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	if e.init == 0 {
		e.init = now().Sub(e.started)
		e.f.initialized(e.init)
	}
	e.signal(syscall.SIGSTOP)
	e.mu.Unlock()
	poke(e.ready)
	select {
	case inv := <-e.work:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:"+e.f.r.opts.Region+":"+e.f.r.opts.Account+":function:"+e.f.Name)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+fmt.Sprintf("%08x", now().Unix())+"-"+hex.EncodeToString([]byte(inv.id[:12]))+";Sampled=0")
		_, _ = w.Write(inv.payload) // fails if the process has ended
	case <-e.ended:
	case <-r.Context().Done():
	}
}

func (f *function) initialized(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Init = append(f.stats.Init, took)
}

// onAnswer completes the current invocation with the posted body.
func (e *environment) onAnswer(w http.ResponseWriter, r *http.Request, decode func(body []byte) answer) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the process ended while it posted
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil || e.current.id != r.PathValue("id") {
		http.Error(w, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	e.current.answered <- decode(body)
	e.current = nil
	w.WriteHeader(http.StatusAccepted)
}

// invoke delivers inv and waits for the result. began is false if the process ended
// before it received inv. If kill is not negative, the process is killed after kill, or
// earlier if it answers. If freeze is not negative, the process is stopped after freeze,
// unless it has answered; the error is [ErrFrozen] even then.
func (e *environment) invoke(inv *invocation, kill, freeze time.Duration) (began bool, err error) {
	init := time.NewTimer(maxInit)
	defer init.Stop()
	select {
	case <-e.ready:
	case <-e.ended:
		return false, e.exit()
	case <-init.C:
		e.kill()
		<-e.ended
		return false, e.f.failure("Sandbox.Timedout", fmt.Sprintf("no poll within %v", maxInit))
	}
	start := now()
	inv.deadline = start.Add(e.f.Timeout)
	e.mu.Lock()
	e.current = inv
	e.signal(syscall.SIGCONT)
	e.mu.Unlock()
	select {
	case e.work <- inv:
	case <-e.ended:
		return false, e.exit()
	}
	defer func() { inv.took = now().Sub(start) }()
	timeout := time.NewTimer(e.f.Timeout)
	defer timeout.Stop()
	var killed, frozen <-chan time.Time
	if d := max(kill, freeze); d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		if kill >= 0 {
			killed = t.C
		} else {
			frozen = t.C
		}
	}
	select {
	case a := <-inv.answered:
		switch { // it answered before the fault
		case kill >= 0:
			return true, e.injectKill()
		case freeze >= 0:
			inv.answered <- a
			return true, ErrFrozen
		}
		return true, inv.take(a)
	case <-e.ended:
		select {
		case a := <-inv.answered: // after a panic, the process posts the error and exits
			return true, inv.take(a)
		default:
			return true, e.exit()
		}
	case <-killed:
		return true, e.injectKill()
	case <-frozen:
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.current == inv { // else it has answered
			e.signal(syscall.SIGSTOP)
		}
		return true, ErrFrozen
	case <-timeout.C:
		e.kill()
		<-e.ended
		e.f.count(&e.f.stats.Timeouts)
		return true, e.f.failure("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, e.f.Timeout.Seconds()))
	}
}

func (inv *invocation) take(a answer) error {
	if a.err != nil {
		return a.err
	}
	inv.body = a.body
	return nil
}

// injectKill is the fault [Faults.Kill].
func (e *environment) injectKill() error {
	e.kill()
	<-e.ended
	e.f.count(&e.f.stats.Kills)
	return e.exit()
}

// exit returns the error for a process that ended.
func (e *environment) exit() error {
	e.f.mu.Lock()
	closed := e.f.closed
	e.f.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return e.f.failure("Runtime.ExitError", fmt.Sprintf("the process ended: %v", e.cmd.ProcessState))
}

// signal sends a signal to the process unless it has ended. The caller holds mu.
func (e *environment) signal(s syscall.Signal) {
	if !e.isDead() {
		_ = syscall.Kill(e.cmd.Process.Pid, s) // the process may end concurrently
	}
}

func (e *environment) isDead() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// kill kills the process and its children.
func (e *environment) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isDead() {
		e.killed = true
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL) // the process may end concurrently
	}
}

// end kills the process and closes its server.
func (e *environment) end() {
	e.once.Do(func() {
		e.kill()
		<-e.ended
		_ = e.server.Close() // its only client has ended
		e.serving.Wait()
		e.f.forget(e, !e.killed)
	})
}
