//go:build !linux

package awstest

import (
	"os/exec"
	"syscall"
)

// endWithParent makes cmd a process group of its own. Only Linux can kill it when this
// process is killed.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
