// counts steps
export class Stairs {
  count() { return 12; }
}

export function climb(stairs) {
  return stairs.count();
}
