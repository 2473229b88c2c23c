//! Takes a step so many times: `instructions NAME TIMES`. Callgrind counts the instructions of two such runs, and their
//! difference is what the step costs; see `./dev instructions`. Without arguments it prints the names.

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        bench_micro::all().iter().for_each(|step| println!("{}", step.name));
        return Ok(());
    };
    let times: u32 = times.parse().map_err(|_| "TIMES is a number".to_owned())?;
    let step = bench_micro::all().into_iter().find(|step| step.name == *name);
    let mut step = step.ok_or_else(|| format!("there is no step {name}"))?;
    (0..times).for_each(|_| (step.take)());
    Ok(())
}
