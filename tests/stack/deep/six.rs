//! Six functions deep, one of them inlined, and then for ever in read().
use std::hint::black_box;
use std::io::Read;

struct Pool {
    taken: u64,
}

impl Pool {
    #[inline(never)]
    fn leak_here(&mut self) -> u64 {
        let mut byte = [0];
        let n = std::io::stdin().lock().read(&mut byte).unwrap_or(0);
        self.taken += n as u64;
        black_box(self.taken)
    }
}

#[inline(always)]
fn take_one(pool: &mut Pool) -> u64 {
    black_box(pool.leak_here() * 3)
}

trait Handle {
    fn handle(&mut self) -> u64;
}

impl Handle for Pool {
    #[inline(never)]
    fn handle(&mut self) -> u64 {
        black_box(take_one(self) * 5)
    }
}

#[inline(never)]
fn dispatch(handler: &mut dyn Handle) -> u64 {
    black_box(handler.handle() * 7)
}

#[inline(never)]
fn serve<T: Handle>(mut handler: T) -> u64 {
    black_box(dispatch(black_box(&mut handler)) * 11)
}

#[inline(never)]
fn run_server(n: u64) -> u64 {
    black_box(serve(Pool { taken: n }) * 13)
}

fn main() {
    std::process::exit(i32::from(run_server(black_box(1)) == 4711));
}
