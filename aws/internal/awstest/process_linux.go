package awstest

import (
	"os/exec"
	"syscall"
)

// EndWithParent has the kernel end the child when this process does, however
// that comes about, and puts it and its children into a group of their own.
func EndWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
