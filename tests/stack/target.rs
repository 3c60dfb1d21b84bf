//! A process that prints its own call path, waits for its input to end, exits.
use std::io::Read;

mod server {
    pub struct Listener;
    impl Listener {
        #[inline(never)]
        pub fn accept(&self) {
            super::report();
            std::hint::black_box(self);
        }
    }
}

#[inline(never)]
fn report() {
    let mut frame: *const u64;
    // SAFETY: built with frame pointers, so %rbp leads to the caller's frame.
    unsafe {
        std::arch::asm!("mov {}, rbp", out(reg) frame);
        for _ in 0..2 {
            print!("{:#x} ", *frame.add(1));
            frame = *frame as *const u64;
        }
    }
    println!();
}

fn main() {
    server::Listener.accept();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
