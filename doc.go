// Package grace lets a service replace itself by a new process without losing a connection.
//
// The old process hands its listening sockets to the new one, the new one says when it is ready, and only then does the old
// one stop accepting, finish its work and leave. From the first bind to the last exit the sockets are open in some process, so
// no connection is refused; and until the new process is ready, the old one serves as if nothing happened, so a release that
// does not come up is a failed [Manager.Upgrade] and no outage.
//
// # A service
//
//	m, err := grace.New(grace.WithLogger(slog.Default())) // at the start of main
//	ln, err := m.Listen(ctx, "tcp", ":8080")              // binds, or takes over what the previous process had
//	m.Append(grace.Hook{OnDrain: func(ctx context.Context) error {
//		return finishWork(ctx, ln) // close the listener, wait for what is in progress
//	}})
//	go serve(ln)
//	return m.Run(ctx) // SIGHUP upgrades, SIGTERM ends; nil when all is drained
//
// The program examples/echo is the whole of it for a TCP server. An HTTP service uses package gracehttp, which drains servers without
// losing a request: see the programs examples/http, and examples/demo, which puts one under load. A service
// that has its own main loop calls [Manager.Ready], [Manager.Upgrade] and [Manager.Shutdown] itself, and looks at
// [Manager.Done] and [Manager.Wait], instead of [Manager.Run].
//
// # Generations
//
// A generation is the life of one process. One of them serves, at most one successor starts, and older ones drain:
//
//	starting --Ready--> serving --Upgrade--> upgrading --successor ready--> (probation) --> draining --> done
//	                       ^                     |                               |
//	                       +---- it failed ------+---- the successor failed -----+
//
// Whichever process crashes, hangs or is cancelled, exactly one generation ends up serving:
//
//   - The successor exits, fails or is not ready in time: it is killed, Upgrade returns an [*UpgradeError], and the old process
//     serves on with the same listeners. It may upgrade again.
//   - The context of Upgrade ends: likewise.
//   - The old process dies before it has committed the handoff: the successor takes over as soon as it is ready.
//   - The successor dies after it was told to serve, before it has acknowledged that: the old process serves on.
//   - The successor dies on probation, is found ill or calls [Manager.Fail]: the old process serves on. What the successor has
//     accepted by then it may finish, if it lives.
//   - The old process outlives its drain timeout: it is signalled, see below.
//
// # Probation
//
// A release that starts well may serve badly. With [WithProbation] both processes accept connections for a while, and only then
// is the handoff committed: until then Ready blocks in the new process, the PID file names the old one, and the end of the new
// one, its [Manager.Fail] or a bad answer of [WithHealthCheck] makes the upgrade fail.
//
// # Old generations
//
// A drain takes as long as the connections of the old process last, at most [WithDrainTimeout]. What is open at its end ends with
// the process; DrainFinished counts it by listener, and so does the process that serves, in ParentExited or AncestorExited: each
// generation passes its connections to the older ones on to its successor. Upgrades do not wait for drains: up to
// [WithMaxDraining] old generations may be at it. One more is refused with [ErrTooManyDraining], or ends the oldest
// ([WithEndOldest]).
//
// A process leaves by itself when it has drained. One that has not left 5 seconds after its drain timeout gets SIGTERM, and
// SIGKILL 5 seconds later, unless an OnParentKill of [Hook] objects. On Linux that goes through a descriptor that the process
// itself has passed on (pidfd_send_signal(2)), so it cannot hit another one that was given its number. Elsewhere only the parent
// is signalled, as long as it still is the parent.
//
// # Sockets
//
// The Listen functions look for an inherited socket first, and bind a new one where none is what is asked for; see
// [Manager.Listen] for what matches. So a program calls them in the same way whether it is the first process, a successor, or
// was started by socket activation (sd_listen_fds(3), LISTEN_FDS). It should do so before Ready: what nobody has asked for by
// then is closed, since its clients would wait for ever.
//
// What the program closes is not handed over. What it binds while an upgrade is under way waits for the outcome.
//
// In a successor, Accept of a listener from Listen and the reads of a connection from ListenPacket wait until the handoff is
// committed. Servers can therefore start before the process is ready, and a start-up that fails later has taken no
// connection with it. In the old process they wait from the commit on: when Upgrade has returned, the successor alone accepts and
// reads. For a moment before that both may; each finishes what it has accepted.
//
// A unix socket keeps its path for as long as some generation serves it. The path is removed at the end by the generation that
// ends the service, never if a service manager has made it, and not if another socket has taken it meanwhile. A path that a
// crashed process has left, on which nobody answers, is replaced.
//
// # The successor
//
// It executes the same path, with the arguments, directory and environment that the first process had in [New]. The path is
// resolved anew each time: a file that was replaced by renaming another one over it, or a symbolic link that was turned, is
// what starts. See [WithExecutable], [WithArgs], [WithDir] and [WithEnv]. It shares the standard streams. With [WithCheck] the
// old process looks at the program first, for example at its signature, and starts the very file that it has looked at.
//
// It gets exactly the sockets, one end of a connection to the old process, and what the application passes besides. New reads
// the variables that announce them (LISTEN_FDS, LISTEN_FDNAMES, GRACE_LINK), removes them, and makes the descriptors
// close-on-exec, so that no other child of the process can take them for its own. The flags of the shared sockets are never
// touched: os/exec would clear O_NONBLOCK in both processes (golang.org/issue/29277).
//
// # Files, connections and state
//
// An application can pass more than its listeners to its successor, by names:
//
//	err = m.Pass("access log", file)            // a file, a pipe, a connection ...
//	err = m.PassState("sessions", encode)       // and bytes, which encode returns during the upgrade
//
//	file, err := m.Inherited("access log")      // in the successor, which owns the file
//	data, err := m.InheritedState("sessions")   // errors match ErrNotInherited in a first generation
//
// What is closed by the time of the upgrade is not passed. A passed file is the same one in both processes, with one offset:
// they should not use it at the same time, and neither should use a connection before [Manager.Ready] has returned in the new
// one, or after an OnUpgrade hook has paused it in the old one. What nobody asks for before Ready is closed, and a successor
// passes on only what it passes itself. See [Manager.Pass] and [Manager.Inherited].
//
// State travels in a sealed file in memory (a temporary file without a name, outside of Linux), with a name, a length and a
// checksum. Up to [MaxState] bytes each, and [MaxStateTotal] together, are encoded by one process and read by the other one at a
// time. A state that cannot be encoded, comes damaged, or makes no sense to the new version, which then calls [Manager.Fail],
// is a failed upgrade: the old process serves on. The program examples/tickets shows a count that goes on over upgrades.
//
// # Connections while the old process drains
//
// What a process has accepted, it finishes: that is what the drain is for. A connection whose next message may as well be answered
// by the successor can be transferred to it, at a moment of the application's choice during the drain:
//
//	err = m.Transfer(ctx, "chat", conn, state)                        // in an OnDrain hook, or once Done is closed
//
//	stop, err := m.HandleTransfers("chat", func(c net.Conn, state []byte) { ... }) // in the successor, before Ready
//
// After an error the old process still has the connection and goes on with it; otherwise the successor has it, or the process that
// serves by then. Whichever of them dies, hangs or refuses meanwhile, it is never both, and never lost while one of them lives to serve
// it. Package gracehttp does this for connections without a request. It works on Linux; elsewhere connections stay.
//
// [Manager.Pass] is for what the successor needs before it is ready, Transfer for what it can get when it serves.
//
// # Hooks
//
// See [Hook] for the moments at which an application can act: release what only one process may hold before an upgrade
// (OnUpgrade), take it back after a failed one (OnUpgradeFailed), check that it can serve (OnReady), finish its work
// (OnDrain), use what the old process has freed at its end (OnParentExit), and save it from a signal (OnParentKill).
//
// A loop that must not end before the service does, such as that of a server, is started by [Manager.Go]: if it fails, the process
// cannot serve, and the upgrade fails or the service ends.
//
// # Observing
//
// [WithLogger] logs what happens to log/slog, with the generation, the pid and the role of the process, and an id of the
// handoff that is the same in both. [WithObserver] gives the same as typed events.
//
// # Signals
//
// [New] claims the signals for Run, so that one that comes early is not fatal: SIGHUP and SIGUSR2 for upgrades, SIGTERM and
// SIGINT for the end. A second one of the latter forces the exit. A program that does not call Run switches them off with
// [WithUpgradeSignals] and [WithShutdownSignals].
//
// # Coming from facebookgo/grace
//
// A running program of facebookgo/grace can be replaced by one of this package, and the other way round, as in any other upgrade:
// install the program, and send SIGUSR2. No connection is refused.
//
// A parent of facebookgo/grace has passed its sockets in LISTEN_FDS, without a LISTEN_PID of ours, to its own command. This process then is
// of generation 2, its Accept waits for Ready like that of any successor, and its Ready sends SIGTERM to the parent, which makes that
// drain; OnParentKill can object. It is ended if it stays longer than this process's own drain timeout. If Ready fails, the parent is
// not signalled, and serves on. (Where the command of another process cannot be seen, on systems other than Linux, any parent that
// passes sockets without LISTEN_PID is signalled, unless it is PID 1; facebookgo/grace does so everywhere.) The path of a unix socket
// is removed by the process of facebookgo/grace that has bound it; it is restored within a few milliseconds.
//
// A successor of facebookgo/grace sends SIGTERM to this process when it serves. While an upgrade waits for a successor, SIGTERM is
// that word, and not the end of the service, if the successor has taken sockets in a way in which none of this package can: before
// it has read what this process sends it at first. That can be seen on Linux alone, and only where the files of /proc/PID/fd can be
// read; everywhere else SIGTERM ends the service. The signal has to be left to this package: SIGTERM is one of
// [WithShutdownSignals], whether or not Run is called. A program that catches SIGTERM by itself cannot tell from whom it comes:
// package os/signal does not say. Between the moment at which the successor takes its sockets and the one at which it signals, an
// operator's SIGTERM is taken for the successor's, and ends this process alone. For such a successor
// there is no probation, it gets sockets and nothing else that was passed, and the PID file is written on its behalf.
//
// # Limits
//
// Linux, macOS and the BSDs can upgrade. On Windows, Listen and Run work, and Upgrade returns an error that matches
// [errors.ErrUnsupported]; so it does in a process that is PID 1, whose end would be that of its container.
//
// The typed Listen functions return the standard library's own types, which accept at once in a successor, keep accepting in the
// old process until they are closed, and lose the keep-alive of their [net.ListenConfig] when they are inherited. Two processes that read one UDP socket take each other's
// packets: that is harmless for protocols of one question and one answer, and not for QUIC.
//
// A listener that was opened with Multipath TCP, the default of package net, stays what it is over upgrades; so does one
// without.
//
// An upgrade needs a few descriptors, a process and its threads on top of what the service uses. Where a limit forbids them
// (RLIMIT_NOFILE, RLIMIT_NPROC, pids.max of a container), or the environment is too long, Upgrade fails and the error matches
// EMFILE, EAGAIN or E2BIG of package syscall. The Go runtime ends a process that gets no thread when it needs one: leave room.
//
// Go raises the soft limit on descriptors for itself, and gives what it starts the limit that it was started with. With more
// sockets and files than that, the dynamic linker of a successor cannot open its libraries. Start the service with a higher soft limit
// (LimitNOFILE= in systemd.exec(5)), link it statically, or have it call [syscall.Setrlimit], after which Go hands its limit
// on.
//
// A successor is a child of the old process. Service managers that supervise a main process have to be told of the new one:
// those that follow a PID file are, by [WithPIDFile]. Under systemd, socket activation works, and an upgrade does not yet tell
// systemd of the new main process.
package grace
