//go:build !linux

package awstest

import (
	"os/exec"
	"syscall"
)

// EndWithParent puts the child and its children into a group of their own. Run
// ends it; nobody does when this process is killed.
func EndWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
