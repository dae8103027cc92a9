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
	MOVQ flags+0(FP), DI
	MOVQ first+8(FP), R12
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	TESTQ AX, AX
	JNE parent
next:
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	SYSCALL
	MOVQ AX, CALL_RESULT(R12)
	CMPQ AX, $0xfffffffffffff001
	JLS succeeded
	ADDQ CALL_SKIP(R12), R12
	JMP next
succeeded:
	ADDQ $CALL_SIZE, R12
	JMP next
parent:
	MOVQ AX, result+16(FP)
	RET
