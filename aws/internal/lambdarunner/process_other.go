//go:build !linux

package lambdarunner

import (
	"os/exec"
	"syscall"
)

// endWithParent puts the child and its children into a group of their own. Close
// ends it; nobody does when this process is killed.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
