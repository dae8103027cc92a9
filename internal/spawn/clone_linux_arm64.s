#include "textflag.h"

// A call: see calls_linux.go.
#define CALL_SIZE 72
#define CALL_SKIP 56
#define CALL_RESULT 64

// func clone(flags uintptr, first *call) (result uintptr)
//
// The child uses no stack, because it has that of its parent. The registers that the kernel
// preserves are enough.
TEXT ·clone(SB),NOSPLIT,$0-24
	MOVD flags+0(FP), R0
	MOVD first+8(FP), R19
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $220, R8 // clone
	SVC
	CBNZ R0, parent
next:
	MOVD 0(R19), R8
	MOVD 8(R19), R0
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	SVC
	MOVD R0, CALL_RESULT(R19)
	CMN $4095, R0
	BCC succeeded
	MOVD CALL_SKIP(R19), R1
	ADD R1, R19
	JMP next
succeeded:
	ADD $CALL_SIZE, R19
	JMP next
parent:
	MOVD R0, result+16(FP)
	RET
