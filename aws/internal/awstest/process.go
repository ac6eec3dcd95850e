package awstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// kill ends the child with its own children: MiniStack starts functions.
func kill(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
}

// claim reports whether the file at path is this process's from now on, until it
// ends.
func claim(path string) (bool, error) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// The descriptor stays open: the lock goes with it.
	err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return true, nil
	}
	_ = syscall.Close(fd) // the lock was not had
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return false, fmt.Errorf("lock %s: %w", path, err)
}
