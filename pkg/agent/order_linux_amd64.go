package agent

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	sysDup2   = unix.SYS_DUP2
)
