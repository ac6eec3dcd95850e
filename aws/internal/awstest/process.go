package awstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Start starts cmd in a process group of its own. On Linux the kernel kills the group when
// this process ends. The channel is closed when cmd has ended.
func Start(cmd *exec.Cmd) (<-chan struct{}, error) {
	endWithParent(cmd)
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel kills the child when the thread that started it ends, so the thread
		// has to live as long as the child.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState has the result
			close(ended)
		}
	}()
	return ended, <-started
}

// kill kills the process group of cmd: MiniStack starts functions as its children.
func kill(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended already
}

// claim locks the file at path until this process ends. It returns false if another
// process has the lock.
func claim(path string) (bool, error) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// The lock lasts as long as the descriptor is open.
	err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return true, nil
	}
	_ = syscall.Close(fd) // it has no lock
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return false, fmt.Errorf("lock %s: %w", path, err)
}
