package agent

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	// arm64 has no dup2.
	sysDup2 = unix.SYS_DUP3
)
