#include "textflag.h"

// func prlimit(pid, resource uintptr, limit, old *Limit)
TEXT ·prlimit(SB),NOSPLIT,$0-32
	MOVQ pid+0(FP), DI
	MOVQ resource+8(FP), SI
	MOVQ limit+16(FP), DX
	MOVQ old+24(FP), R10
	MOVL $302, AX // prlimit64
	SYSCALL
	RET
