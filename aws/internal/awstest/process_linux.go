package awstest

import (
	"os/exec"
	"syscall"
)

// endWithParent makes cmd a process group of its own, which the kernel kills when this
// process ends for any reason.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
