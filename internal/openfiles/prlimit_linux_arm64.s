#include "textflag.h"

// func prlimit(pid, resource uintptr, limit, old *Limit)
TEXT ·prlimit(SB),NOSPLIT,$0-32
	MOVD pid+0(FP), R0
	MOVD resource+8(FP), R1
	MOVD limit+16(FP), R2
	MOVD old+24(FP), R3
	MOVD $261, R8 // prlimit64
	SVC
	RET
