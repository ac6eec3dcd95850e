package lambdarunner

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
)

// Lambda gives a process 10 seconds to ask for work; this machine may have much else
// to do.
const maxInit = 30 * time.Second

// farewell is how long a process has after SIGTERM, if it asked for that.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
const farewell = 300 * time.Millisecond

// environment is one process of a function and the Runtime API that it talks to:
// one each, for a process is told no more than a host and a port.
type environment struct {
	f       *function
	cmd     *exec.Cmd
	server  *http.Server
	serving sync.WaitGroup
	out     *printer

	ready chan struct{}    // has one while the process waits for work
	work  chan *invocation // to the request that waits
	ended chan struct{}    // the process has
	once  sync.Once        // of end

	mu        sync.Mutex
	started   time.Time
	init      time.Duration // 0: it has not asked for work yet
	current   *invocation   // has no answer yet
	killed    bool          // by the runner
	fault     *FunctionError
	extension bool // an internal extension was registered, which asks for SIGTERM
}

// invocation is one hand-over.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answered chan answer // has room for one

	body []byte
	took time.Duration
}

type answer struct {
	body []byte
	err  *FunctionError
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func startEnvironment(f *function) (*environment, error) {
	e := &environment{
		f: f, out: f.r.log.printer(f.Name),
		ready: make(chan struct{}, 1), work: make(chan *invocation), ended: make(chan struct{}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e.server = &http.Server{Handler: e.routes(), ReadHeaderTimeout: maxInit}
	e.cmd = exec.Command(f.r.opts.Binary)
	e.cmd.Dir = filepath.Dir(f.r.opts.Binary)
	e.cmd.Env = e.variables(l.Addr().String())
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	e.cmd.WaitDelay = time.Second // a grandchild may hold what it prints to
	awstest.EndWithParent(e.cmd)
	e.started = now()
	began := make(chan error, 1)
	f.r.wg.Go(func() {
		// A child is told of the end of the thread that started it: this one has to
		// last as long as the child.
		runtime.LockOSThread()
		err := e.cmd.Start()
		began <- err
		if err == nil {
			_ = e.cmd.Wait() // how it ended is in the state
			close(e.ended)
		}
	})
	if err := <-began; err != nil {
		return nil, errors.Join(err, l.Close())
	}
	f.r.wg.Go(func() { _ = e.server.Serve(l) }) // it ends with the process
	return e, nil
}

// variables is the environment as Lambda sets it up.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (e *environment) variables(api string) []string {
	o, f := e.f.r.opts, e.f
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.Memory),
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
	return append(append(env, o.Env...), f.Env...) // the last one counts
}

// routes is the Runtime API, and what of the Extensions API a function within its
// own process uses.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
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
	handle("POST /2018-06-01/runtime/invocation/{id}/response", e.onResponse)
	handle("POST /2018-06-01/runtime/invocation/{id}/error", e.onError)
	handle("POST /2018-06-01/runtime/init/error", e.onInitError)
	handle("POST /2020-01-01/extension/register", e.onRegister)
	handle("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-e.ended: // a frozen extension is never told of an invocation here
		case <-r.Context().Done():
		}
	})
	return mux
}

// onNext holds the process's request for work until there is some. Until then the
// process is frozen, as it is in Lambda: what it left running does not run on.
func (e *environment) onNext(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	if e.init == 0 {
		e.init = now().Sub(e.started)
		e.f.initialized(e.init)
	}
	if !e.killed { // else it is about to say goodbye
		e.signal(syscall.SIGSTOP)
	}
	e.mu.Unlock()
	poke(e.ready)
	select {
	case inv := <-e.work:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", e.f.arn())
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+fmt.Sprintf("%08x", now().Unix())+"-"+hex.EncodeToString([]byte(inv.id[:12]))+";Sampled=0")
		_, _ = w.Write(inv.payload) // who is gone by now has ended
	case <-e.ended:
	case <-r.Context().Done():
	}
}

func (f *function) arn() string {
	return "arn:aws:lambda:" + f.r.opts.Region + ":" + f.r.opts.Account + ":function:" + f.Name
}

func (f *function) initialized(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Init = append(f.stats.Init, took)
}

// posted is the body of an error.
type posted struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func (e *environment) posted(r *http.Request, body []byte) *FunctionError {
	var p posted
	_ = json.Unmarshal(body, &p) // what is not said stays empty
	return &FunctionError{
		Function: e.f.Name, Payload: body, Message: p.Message,
		Type: cmp.Or(p.Type, r.Header.Get("Lambda-Runtime-Function-Error-Type"), "Runtime.Unknown"),
	}
}

func (e *environment) onResponse(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it ended within its answer
	}
	a := answer{body: body}
	// A streamed answer that failed halfway says so behind itself.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		text, _ := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
		a.err = e.posted(r, text)
		a.err.Type = kind
	}
	e.answer(w, r, a)
}

func (e *environment) onError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it ended within its answer
	}
	e.answer(w, r, answer{err: e.posted(r, body)})
}

func (e *environment) answer(w http.ResponseWriter, r *http.Request, a answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil || e.current.id != r.PathValue("id") {
		http.Error(w, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	e.current.answered <- a
	e.current = nil
	w.WriteHeader(http.StatusAccepted)
}

func (e *environment) onInitError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it ended within its request
	}
	e.mu.Lock()
	e.fault = e.posted(r, body)
	e.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

func (e *environment) onRegister(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	e.extension = true
	e.mu.Unlock()
	w.Header().Set("Lambda-Extension-Identifier", requestID())
	_, _ = io.WriteString(w, "{}") // who is gone by now has ended
}

// invoke hands inv over and waits for what comes of it. began is false when the
// process ended without it. A kill of 0 or more is when it is killed at the latest.
func (e *environment) invoke(inv *invocation, kill time.Duration) (began bool, err error) {
	init := time.NewTimer(maxInit)
	defer init.Stop()
	select {
	case <-e.ready:
	case <-e.ended:
		return false, e.exit()
	case <-init.C:
		e.kill()
		<-e.ended
		return false, e.f.failure("Sandbox.Timedout", fmt.Sprintf("no request for work within %v", maxInit))
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
	var killed <-chan time.Time
	if kill >= 0 {
		t := time.NewTimer(kill)
		defer t.Stop()
		killed = t.C
	}
	select {
	case a := <-inv.answered:
		if kill >= 0 { // too late for anything but its answer
			return true, e.murder()
		}
		return true, inv.take(a)
	case <-e.ended:
		select {
		case a := <-inv.answered: // after a panic it posts that and ends
			return true, inv.take(a)
		default:
			return true, e.exit()
		}
	case <-killed:
		return true, e.murder()
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

// murder is the fault.
func (e *environment) murder() error {
	e.kill()
	<-e.ended
	e.f.count(&e.f.stats.Kills)
	return e.exit()
}

// exit is the error of a process that ended.
func (e *environment) exit() error {
	e.f.mu.Lock()
	closed := e.f.closed
	e.f.mu.Unlock()
	if closed {
		return ErrClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fault != nil {
		return e.fault
	}
	return e.f.failure("Runtime.ExitError", fmt.Sprintf("the process ended: %v", e.cmd.ProcessState))
}

// signal sends a signal to the process unless it has ended. The caller has the lock.
func (e *environment) signal(s syscall.Signal) {
	if !e.isDead() {
		_ = syscall.Kill(e.cmd.Process.Pid, s) // it may end just now
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

// kill kills the process with its children.
func (e *environment) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isDead() {
		e.killed = true
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL) // it may end just now
	}
}

// end ends the process and what served it.
func (e *environment) end() {
	e.once.Do(func() {
		e.mu.Lock()
		asked := e.extension && e.current == nil && !e.killed
		exited := e.isDead() && !e.killed
		if asked && !exited {
			e.killed = true
			e.signal(syscall.SIGTERM)
			e.signal(syscall.SIGCONT)
		}
		e.mu.Unlock()
		if asked && !exited {
			t := time.NewTimer(farewell)
			select {
			case <-e.ended:
			case <-t.C:
			}
			t.Stop()
		}
		e.kill()
		<-e.ended
		_ = e.server.Close() // nobody is left that it serves
		e.serving.Wait()
		e.f.forget(e, exited)
	})
}
