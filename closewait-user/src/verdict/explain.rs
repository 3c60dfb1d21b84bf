//! What each verdict code means, for people who have one and want to know more.

use super::Code;

/// The text of `closewait-trace explain CODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What the code says about the socket.
    pub meaning: &'static str,
    /// What the verdict rests on, and how to see the same by hand.
    pub proof: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// What people try, and why it does not work.
    pub no_help: &'static str,
}

/// Of every socket that waits for its application's close().
const KERNEL_SETTINGS: &str = "tcp_fin_timeout, tcp_tw_reuse, tcp_tw_recycle: they are about other states, CLOSE_WAIT has no timeout in the \
     kernel. SO_REUSEADDR: it lets a listener bind again, and closes nothing. SO_LINGER 0: it changes how close() \
     ends a connection, and it is close() that is missing. A higher limit of descriptors: the same end, later. \
     Keepalive: a peer that has forgotten its end answers the probe by a reset, the row leaves `ss`, and the \
     descriptor stays (GHOST_RESET). Restarting each night: it hides how fast they become more.";

/// Explains a code.
pub const fn explain(code: Code) -> Explanation {
    match code {
        Code::NotAccepted => Explanation {
            meaning: "The connection is complete and the peer has closed it again, but the server never called \
                      accept() for it. It waits in the listener's accept queue and takes a place there.",
            proof: "The socket has inode 0: no file was ever made for it. `ss -ltn` shows the queue's length as \
                    Recv-Q and its limit as Send-Q of the listener. Where the only process that has \
                    it is stopped or frozen, it is unclear: that cannot act.",
            fix: "Find out why the listener's process does not accept: a blocked thread, a stopped event loop, \
                  all workers busy, or a listener inherited by a process that never uses it. Or it is out of \
                  descriptors, as the report then says: accept() fails with EMFILE until it closes some, so mend \
                  what it leaks, or raise its limit.",
            no_help: "A larger backlog or somaxconn: it only takes longer to fill. A higher limit of descriptors, unless \
                      the process is out of them: these have none yet. Keepalive and SO_REUSEADDR on the listener: neither calls accept(). Destroying \
                      the sockets (ss -K): their places in the queue stay taken until accept() is called.",
        },
        Code::PeerGone => Explanation {
            meaning: "The peer closed its side and can no longer be reached, while data (or a keepalive probe) for \
                      it is still waiting to be acknowledged.",
            proof: "Retransmissions or probes grow, and no ACK has arrived since (last_ack_recv of `ss -ti`).",
            fix: "None needed in the holder: the kernel gives up by itself after its retries (tcp_retries2, often \
                  15 minutes) or keepalive probes. TCP_USER_TIMEOUT makes that sooner.",
            no_help: "Restarting the holder: the next peer behind the same broken path ends the same way. SO_LINGER 0: \
                      close() need not wait for the peer in any case. tcp_fin_timeout, tcp_tw_recycle: they are about \
                      other states.",
        },
        Code::Sending => Explanation {
            meaning: "A half-close at work: the peer has finished sending and still receives what we send.",
            proof: "bytes_acked, or bytes_sent less bytes_retrans, grows between two looks (`ss -ti`), however far \
                    apart; or data was last sent more than a second after the EOF (lastsnd) and nothing was ever \
                    retransmitted. It remains the verdict in pauses: for a minute, or three times the longest \
                    pause seen. After that it is one of the others, of medium confidence, and a leak only when it \
                    has been silent for ten times that.",
            fix: "None needed. If it takes too long, see why the transfer is slow; a proxy may limit how long it lets \
                  one half go on (HAProxy's `timeout client-fin`).",
            no_help: "Closing on EOF without sending the rest, or SO_LINGER 0: both cut off answers that the peer waits \
                      for. Keepalive: the peer is there.",
        },
        Code::SendBlocked => Explanation {
            meaning: "The holder has data to send, and the peer, though it answers, does not take it.",
            proof: "Send-Q above 0 with the persist timer or a window of 0 (`ss -toi`).",
            fix: "See why the peer does not read. In the holder: a send timeout, and close() when it passes.",
            no_help: "Larger send buffers (tcp_wmem): they only fill later. Keepalive: the peer does answer. \
                      tcp_retries2: nothing is lost that would be sent again.",
        },
        Code::Unheld => Explanation {
            meaning: "The socket has a file, but no process has a descriptor for it. The reference is elsewhere: \
                      in flight over a unix socket, registered with an io_uring, or held by a thread that is \
                      still in a system call on a descriptor that was closed meanwhile.",
            proof: "Its inode is set, and two scans of /proc/*/fd did not find it.",
            fix: "Receive or close what was sent over the unix socket; unregister the io_uring file; call \
                  shutdown() before close() when another thread may be blocked on the socket.",
            no_help: "Searching with lsof or ss -p: they look at the same descriptors. A higher limit of descriptors: none \
                      is used.",
        },
        Code::Inherited => Explanation {
            meaning: "A process that did not open the socket has a descriptor on it, most often a child that got \
                      it by fork or exec and does not know it. The connection ends only when the last one closes.",
            proof: "The process that accepted or connected it is not among the holders, or is not the only one \
                    (`ss -tanp` lists them all). For sockets older than the trace: a holder that has no \
                    descriptor on the listener. It is the verdict only if no holder uses the socket: nobody \
                    ever read or wrote it, or who read the EOF is no holder any more; or each holder is a program \
                    that was executed after the connection was there, with a descriptor that is not close-on-exec, \
                    and neither its arguments nor its threads refer to that. A server that forks for each \
                    connection is told as \"also INHERITED\" at most.",
            fix: "Open descriptors close-on-exec (accept4 with SOCK_CLOEXEC, socket with SOCK_CLOEXEC), and close \
                  what a forked child does not need. shutdown() in the opener ends the connection for all of them, \
                  where that is wanted; the child's descriptor stays.",
            no_help: "close() in the opener: it has done that already. SO_LINGER 0 in the opener: it acts at the last \
                      close() only. SO_REUSEADDR: the port can be bound again, the heir still has the connection. \
                      Keepalive, tcp_fin_timeout, tcp_tw_recycle: none takes a descriptor away.",
        },
        Code::EofIgnored => Explanation {
            meaning: "The application was told that the peer had closed (a read returned 0), and went on without \
                      closing the socket.",
            proof: "The read was seen, with the process, the thread and the stack that made it. Nothing was sent \
                    since.",
            fix: "Close the socket on the code path of that stack: error paths and early returns forget it most \
                  often.",
            no_help: KERNEL_SETTINGS,
        },
        Code::SlowReader => Explanation {
            meaning: "The peer has closed; what it had sent is still being read, slowly. The EOF comes last.",
            proof: "Recv-Q falls between two looks, however far apart. Nothing follows a FIN, so it is a reader that \
                    takes it (`ss -tn`). It remains the verdict in pauses: for a minute, or three times the longest \
                    pause seen.",
            fix: "None needed. If it takes too long, see what the reader does between its reads.",
            no_help: "Closing it from outside, or SO_LINGER 0: what was not read yet would be lost. A larger receive \
                      buffer (tcp_rmem): nothing more will come.",
        },
        Code::IdlePool => Explanation {
            meaning: "A client keeps idle connections for later; its server closed them first, and the client \
                      will notice when it next takes one from its pool.",
            proof: "We connected, nothing was read since the FIN, and many sockets had been idle for the same time \
                    when the server closed them: that is the server's idle timeout. Bounded or growing: births \
                    and ends were counted for a minute or more, and the lower bound of their difference (95 %, \
                    bursts counting once) is not above 0, or is.",
            fix: "Set the pool's idle timeout below the server's, or let it check idle connections. Bounded, it \
                  does no harm but an error or a retry on first use; growing, connections are not given back.",
            no_help: "Keepalive: the connection is closed in good order, there is nothing to detect; after the server has \
                      forgotten its end a probe turns the socket into a descriptor without a connection, and `ss` \
                      shows nothing any more. tcp_fin_timeout, tcp_tw_recycle, SO_REUSEADDR, SO_LINGER 0: none \
                      closes anything. Of those that grow, a higher limit of descriptors: the same end, later.",
        },
        Code::NotReading => Explanation {
            meaning: "A process holds the socket, data or the FIN is waiting in it, and nobody reads.",
            proof: "Recv-Q is 1 (the FIN) or more, and does not change. Of a client's sockets births and ends are \
                    counted too: a few that do not become more are what any session keeps whose server has \
                    closed the connection, and no leak. Of a process that is stopped or frozen it is unclear: \
                    it cannot act.",
            fix: "See what the holder does instead: a thread blocked elsewhere, an event loop that no longer \
                  watches this descriptor, or a connection that was forgotten while still open.",
            no_help: KERNEL_SETTINGS,
        },
        Code::EofConsumed => Explanation {
            meaning: "The FIN has left the receive queue, but no read that returned 0 was seen. Either it came \
                      before the trace, or one read took the last bytes and the FIN together and the \
                      application does not know yet that the peer has closed.",
            proof: "Recv-Q is 0 in CLOSE_WAIT, where the FIN counts as 1.",
            fix: "Read until 0 is returned, then close; do not take a short read for the end of a message.",
            no_help: KERNEL_SETTINGS,
        },
        Code::Unknown => Explanation {
            meaning: "There was not enough evidence to say why.",
            proof: "None of the others holds; the report says what was looked at and what was missing.",
            fix: "Run `closewait-trace doctor`: it tells what this kernel offers and what is lost.",
            no_help: "Guessing, and changing kernel settings on a guess: none of tcp_fin_timeout, tcp_tw_recycle, \
                      SO_REUSEADDR, SO_LINGER 0 or keepalive closes a socket in CLOSE_WAIT.",
        },
        Code::GhostReset => Explanation {
            meaning: "The connection was reset, and a process still has a descriptor on the dead socket. `ss` \
                      shows nothing any more.",
            proof: "The socket went from CLOSE_WAIT to CLOSE; its descriptor is still open (`lsof` shows \
                    \"protocol: TCP\").",
            fix: "Watch for EPOLLERR and EPOLLHUP, or read: the error is waiting there. Then close.",
            no_help: "Watching CLOSE_WAIT counts: they fall while descriptors leak. Keepalive: it is what often brings \
                      the reset, and it closes no descriptor. A higher limit of descriptors: the same end, later. \
                      tcp_fin_timeout, tcp_tw_recycle: there is no TCP left to time out.",
        },
        Code::GhostShutdown => Explanation {
            meaning: "The application called shutdown(), the connection ended in good order, and nobody called \
                      close(). The descriptor leaks.",
            proof: "The socket went from LAST_ACK to CLOSE while a file referred to it.",
            fix: "Call close() as well: shutdown() ends the connection, close() gives the descriptor back.",
            no_help: "Watching `ss`: it shows nothing any more. SO_LINGER 0: it acts at close(), which is not called. A \
                      higher limit of descriptors: the same end, later.",
        },
        Code::GhostTimeout => Explanation {
            meaning: "The kernel gave up on a peer that did not answer, and a process still has a descriptor on \
                      the dead socket.",
            proof: "The socket went to CLOSE with ETIMEDOUT, and its descriptor is still open.",
            fix: "Watch for EPOLLERR, or read: the error is waiting there. Then close.",
            no_help: "A shorter keepalive or TCP_USER_TIMEOUT: the connection ends sooner, the descriptor stays. \
                      tcp_retries2: the same. A higher limit of descriptors: the same end, later.",
        },
        Code::GhostDestroyed => Explanation {
            meaning: "Somebody destroyed the connection from outside, and a process still has a descriptor on the \
                      dead socket.",
            proof: "The socket went to CLOSE with ECONNABORTED, as SOCK_DESTROY leaves it (`ss -K`, \
                    `closewait-trace kill`).",
            fix: "Make the holder close on error, or restart it: only that gives the descriptor back.",
            no_help: "Destroying again: there is nothing left to destroy. A job that destroys what is in CLOSE_WAIT: \
                      the counts look well while the descriptors run out.",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    /// What people set when they see CLOSE_WAIT, where only the application can end it.
    #[test]
    fn the_cures_that_do_not_cure_are_named() {
        for code in [Code::EofIgnored, Code::NotReading, Code::EofConsumed] {
            for cure in ["SO_REUSEADDR", "SO_LINGER 0", "tcp_tw_recycle", "limit of descriptors", "Keepalive"]
            {
                assert!(explain(code).no_help.contains(cure), "{code}: {cure}");
            }
        }
    }

    #[test]
    fn every_code_is_explained_in_sentences() {
        for &code in Code::value_variants() {
            let Explanation { meaning, proof, fix, no_help } = explain(code);
            for text in [meaning, proof, fix, no_help] {
                assert!(text.len() > 40 && text.ends_with('.') && !text.contains("  "), "{code}: {text}");
            }
        }
    }
}
