//go:build !linux

package awstest

import (
	"os/exec"
	"syscall"
)

// endWithParent puts the child and its children into a group of their own. Run
// ends it; nobody does when this process is killed.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
